"""Published models refuse what is not theirs, and say where it stands."""

from __future__ import annotations

import json
import math
import re

import pytest
from pydantic import ValidationError

from ensemble_mtl.analysis.json_model import Count, Interval, JsonModel, Number, parse


class Inner(JsonModel):
    """A part."""

    value: Number
    """A number."""
    ends: Interval
    """An interval."""


class Outer(JsonModel):
    """The whole."""

    name: str
    """A name."""
    count: Count
    """A count."""
    parts: tuple[Inner, ...]
    """The parts."""


WHOLE = {"name": "x", "count": 1, "parts": [{"value": 0.1, "ends": [0.0, 1.0]}, {"value": None, "ends": None}]}


def test_a_model_comes_back_from_json_as_it_went() -> None:
    whole = parse(json.dumps(WHOLE), Outer)
    assert whole.model_dump(mode="json") == WHOLE
    assert parse(whole.model_dump_json(), Outer) == whole
    assert isinstance(whole.parts, tuple)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_undefined_numbers_become_null(value: float) -> None:
    part = Inner(value=value, ends=(0.0, value))
    assert json.loads(part.model_dump_json()) == {"value": None, "ends": None}


def test_models_are_frozen_and_take_nothing_for_something_else() -> None:
    part = Inner(value=1.0, ends=None)
    with pytest.raises(ValidationError, match="frozen"):
        part.value = 2.0  # type: ignore[misc]
    for wrong in ({"value": "1.0"}, {"value": True}, {"ends": (0.0, 1.0, 2.0)}, {"more": 1}):
        with pytest.raises(ValidationError):
            Inner(**({"value": 1.0, "ends": None} | wrong))
    with pytest.raises(ValidationError):
        Outer(name="x", count=-1, parts=())
    with pytest.raises(ValidationError):
        Outer(name="x", count=1, parts=[part])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is not JSON"),
        ('{"name": "x", "count": 1, "parts": [{"value": NaN, "ends": null}]}', "NaN is no number in JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "the whole: "),
        ("{}", "name: required, but missing (and 2 more)"),
        (json.dumps(WHOLE | {"count": "1"}), "count: expected an integer, got '1'"),
        (json.dumps(WHOLE | {"colour": 1}), "colour: unknown key"),
        (json.dumps(WHOLE | {"parts": {}}), "parts: expected a list"),
        (json.dumps(WHOLE | {"parts": [{"value": "x", "ends": None}]}), "parts.0.value: expected a number, got 'x'"),
        (json.dumps(WHOLE | {"parts": [{"value": 1, "ends": [1.0]}]}), "parts.0.ends"),
    ],
)
def test_faults_are_told_with_their_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        parse(text, Outer)
    assert "\n" not in str(error.value)
