"""Tolerances of comparisons, derived from the precision."""

from __future__ import annotations

import torch
from torch import Tensor


def close(actual: Tensor, expected: Tensor, *, rtol: float | None = None, atol: float | None = None) -> None:
    """Assert equality to ``10 sqrt(eps)`` of the dtype, or to the tolerances ``rtol`` and ``atol``.

    The absolute tolerance is relative to the largest expected entry: entries that cancel to nearly nothing cannot have
    more digits.
    """
    assert actual.dtype == expected.dtype
    rtol = 10 * torch.finfo(actual.dtype).eps ** 0.5 if rtol is None else rtol
    scale = float(expected.abs().nan_to_num().max()) if expected.numel() else 0.0
    atol = rtol * max(scale, 1.0) if atol is None else atol
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=True)


ROUNDING = 1e-12
"""Relative error of float64 sums of at most thousands of terms of order one, in another order."""

DERIVATIVE = 1e-10
"""Relative error of float64 second derivatives and training runs, where a few products in a row amplify rounding."""
