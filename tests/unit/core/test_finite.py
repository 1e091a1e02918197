from __future__ import annotations

import json
import math

import pytest

from ensemble_mtl.core.finite import finite_or_none


@pytest.mark.parametrize("value", [0.0, -1.5, 5e-324, 1.7976931348623157e308, 3])
def test_finite_numbers_stay_as_they_are(value: float) -> None:
    assert finite_or_none(value) is value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_json_lacks_is_none(value: float | None) -> None:
    assert finite_or_none(value) is None
    assert json.dumps(finite_or_none(value), allow_nan=False) == "null"
