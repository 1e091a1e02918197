"""Extensions are found by their file names."""

import pytest

from ensemble_mtl.config import registry

FAMILIES = [
    "data.sources",
    "data.split",
    "models.conv",
    "train.optimizer",
    "train.schedule",
    "train.weighting",
    "launch",
    "cluster",
    "reproduce",
]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_extension_declares_its_options(family: str) -> None:
    found = registry.names(family)
    assert found
    for name in found:
        options = registry.load(family, name).Options
        assert issubclass(options, registry.Options)
        assert options.model_fields["name"].default == name


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"got 'pnaa', expected one of .*sage; did you mean 'pna'"):
        registry.load("models.conv", "pnaa")


@pytest.mark.parametrize("name", ["base", "_worker", "../secrets", "os"])
def test_what_is_no_extension_cannot_be_loaded(name: str) -> None:
    with pytest.raises(ValueError, match="expected one of"):
        registry.load("launch", name)
