"""Between gathering and the report, values have types: no room there hands on a dictionary of anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src/ensemble_mtl"
UNTYPED = re.compile(r"\b(?:dict|Dict|Mapping|MutableMapping)\[str, (?:Any|object)\]|= dict\n")
ALLOWED = {"analysis/summary_schema.py"}
"""A JSON Schema is a free form."""


@pytest.mark.parametrize("room", ["analysis", "report"])
def test_no_dictionary_of_anything(room: str) -> None:
    paths = {path.relative_to(SOURCE).as_posix(): path.read_text() for path in sorted((SOURCE / room).rglob("*.py"))}
    assert len(paths) > 10
    assert {name for name, text in paths.items() if UNTYPED.search(text)} == {name for name in ALLOWED if name in paths}
