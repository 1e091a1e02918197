"""Quantiles and tails of the distributions that the verdicts rest on, elementwise over arrays.

scipy is imported inside the functions, because commands that only plan or validate a study never come here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ensemble_mtl.data.graph import FloatArray


def student_t(df: ArrayLike, probability: float) -> FloatArray:
    """The value t with P(T ≤ t) = ``probability`` for Student's t with ``df`` degrees of freedom.

    Args:
        df: degrees of freedom, any shape, not necessarily whole; NaN gives NaN.
        probability: lower tail, between 0 and 1.

    Returns:
        An array of the shape of ``df``.
    """
    from scipy.special import stdtrit

    degrees = np.asarray(df, dtype=np.float64)
    # a simulation asks for thousands of equal ones, and the inversion is slow
    distinct, position = np.unique(degrees, return_inverse=True)
    values: FloatArray = np.asarray(stdtrit(distinct, probability))[position.reshape(degrees.shape)]
    return values


def student_t_two_sided(df: ArrayLike, t: ArrayLike) -> FloatArray:
    """P(|T| ≥ |t|) for Student's t with ``df`` degrees of freedom; NaN gives NaN."""
    from scipy.special import stdtr

    tail: FloatArray = 2 * np.asarray(stdtr(np.asarray(df, dtype=np.float64), -np.abs(t)))
    return tail


def chi_square(df: ArrayLike, probability: float) -> FloatArray:
    """The value x with P(X ≤ x) = ``probability`` for chi-square with ``df`` degrees of freedom."""
    from scipy.special import chdtri

    # chdtri inverts the upper tail
    values: FloatArray = np.asarray(chdtri(np.asarray(df, dtype=np.float64), 1 - probability))
    return values


def fisher_f(numerator_df: ArrayLike, denominator_df: ArrayLike, probability: float) -> FloatArray:
    """The value f with P(F ≤ f) = ``probability`` for Fisher's F with the two degrees of freedom."""
    from scipy.special import fdtri

    numerator, denominator = np.asarray(numerator_df, dtype=np.float64), np.asarray(denominator_df, dtype=np.float64)
    values: FloatArray = np.asarray(fdtri(numerator, denominator, probability))
    return values
