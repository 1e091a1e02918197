"""Plug-ins are found by their file names; what each must offer is held by ``tests/contracts/test_plugins.py``."""

from __future__ import annotations

import pytest

from ensemble_mtl.config import registry
from ensemble_mtl.train.optimizer import adam, adamw
from ensemble_mtl.train.optimizer.base import FAMILY


def test_a_name_is_that_of_a_module() -> None:
    assert FAMILY.names() == registry.names("train.optimizer") == ["adam", "adamw"]
    assert FAMILY.load("adam") is adam
    assert FAMILY.of(adamw.Options()) is adamw
    assert registry.family("train.optimizer") is FAMILY


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"got 'pnaa', expected one of .*sage; did you mean 'pna'"):
        registry.family("models.conv").load("pnaa")


@pytest.mark.parametrize("name", ["base", "rounds", "../secrets", "os"])
def test_what_is_no_plug_in_cannot_be_loaded(name: str) -> None:
    with pytest.raises(ValueError, match="expected one of"):
        registry.family("launch").load(name)


def test_what_options_are_called_says_what_differs_from_the_defaults() -> None:
    assert adam.Options().short_name == "adam"
    assert adam.Options(eps=1e-6).short_name == "adam-eps=1e-06"
