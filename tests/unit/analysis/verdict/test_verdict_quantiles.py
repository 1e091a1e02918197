from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ensemble_mtl.analysis.verdict import quantiles

# scipy.stats goes through Boost, scipy.special through Cephes: both are good to some eight digits
PRECISION = 1e-8


@pytest.mark.parametrize("probability", [0.8, 0.975, 1 - 0.04 / 18, 1 - 0.0016 / 150])
def test_quantiles_of_t_are_those_of_scipy_stats(probability: float) -> None:
    df = np.array([[1.0, 4.0, 11.0], [2.7, 11.0, 499.0]])
    values = quantiles.student_t(df, probability)
    assert values.shape == df.shape
    np.testing.assert_allclose(values, stats.t.ppf(probability, df), rtol=PRECISION)


def test_undefined_degrees_of_freedom_stay_undefined() -> None:
    values = quantiles.student_t([np.nan, 11.0, np.nan], 0.975)
    np.testing.assert_array_equal(np.isnan(values), [True, False, True])
    assert quantiles.student_t(11.0, 0.975).shape == ()


def test_tails_and_the_other_quantiles_are_those_of_scipy_stats() -> None:
    df, t = np.array([3.0, 11.0, 7.3]), np.array([-2.0, 3.5, 0.0])
    np.testing.assert_allclose(quantiles.student_t_two_sided(df, t), 2 * stats.t.sf(np.abs(t), df), rtol=PRECISION)
    np.testing.assert_allclose(quantiles.chi_square(df, 0.2), stats.chi2.ppf(0.2, df), rtol=PRECISION)
    np.testing.assert_allclose(
        quantiles.fisher_f(np.array([1, 3]), np.array([10, 8]), 0.05),
        stats.f.ppf(0.05, [1, 3], [10, 8]),
        rtol=PRECISION,
    )
