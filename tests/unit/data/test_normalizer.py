import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.normalizer import Normalizer, fit

VALUES = np.array([[3.0, np.nan], [5.0, 11.0]])


def test_minmax_maps_to_the_unit_interval() -> None:
    normalizer = fit(VALUES, "minmax", "x")
    assert normalizer == Normalizer(3.0, 8.0, "minmax")
    assert np.array_equal(normalizer.forward(VALUES), [[0.0, np.nan], [0.25, 1.0]], equal_nan=True)


def test_standard_maps_to_mean_zero_and_deviation_one() -> None:
    scaled = fit(VALUES, "standard", "x").forward(VALUES)
    assert np.nanmean(scaled) == pytest.approx(0, abs=1e-15)
    assert np.nanstd(scaled) == pytest.approx(1)


@given(st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=20), st.sampled_from(["minmax", "standard"]))
def test_inverse_undoes_forward(values: list[float], method: str) -> None:
    x = np.array(values)
    if np.ptp(x) <= max(1e-9 * np.abs(x).max(), np.finfo(np.float64).tiny):
        return
    normalizer = fit(x, method, "x")
    again = Normalizer.from_json(json.loads(json.dumps(normalizer.to_json())))
    assert again == normalizer
    assert again.inverse(again.forward(x)) == pytest.approx(x, rel=1e-9, abs=1e-9 * np.abs(x).max())


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e160])
def test_differences_whose_squares_are_no_numbers_are_differences(size: float) -> None:
    normalizer = fit(np.array([0.0, 2 * size]), "standard", "x")
    assert (normalizer.shift, normalizer.scale) == pytest.approx((size, size), rel=1e-12)


def test_a_large_offset_keeps_its_digits() -> None:
    x = -1_179_752.0 + np.array([0.0, 1e-3, 2e-3])
    assert fit(x, "standard", "x").scale == pytest.approx(np.std([0, 1e-3, 2e-3]), rel=1e-6)


@pytest.mark.parametrize("method", ["minmax", "standard"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([2.0, 2.0, np.nan], "gap: constant, all 2 values are 2"),
        ([np.nan], "gap: no graph of this part has a value"),
        ([], "gap: no graph"),
        ([1.0, np.inf], "gap: got infinite values"),
    ],
)
def test_columns_with_nothing_to_learn_are_named(values: list[float], message: str, method: str) -> None:
    with pytest.raises(DataError, match=message):
        fit(np.array(values), method, "gap")
