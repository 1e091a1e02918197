"""Modules that are loaded when they are used."""

from __future__ import annotations

import sys

import pytest

from ensemble_mtl.core.lazy import lazy_import


def test_nothing_is_loaded_before_it_is_used(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    module = lazy_import("colorsys")
    assert "colorsys" not in sys.modules
    assert module.rgb_to_hsv(0, 0, 0) == (0.0, 0.0, 0)
    assert "colorsys" in sys.modules


def test_what_is_replaced_after_its_first_use_is_replaced_for_everyone(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    module = lazy_import("colorsys")
    assert module.ONE_THIRD == 1 / 3
    monkeypatch.setattr("colorsys.ONE_THIRD", 7)
    assert module.ONE_THIRD == 7


def test_a_module_that_is_not_there_is_missed_at_once():
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        lazy_import("no_such_module")
