"""Weights that are only known up to a factor."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from ensemble_mtl.core.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


def normalised(shares: Tensor, learned: Tensor) -> Tensor:
    """``shares [M, T]``, scaled so that those of a member's ``learned [M, T]`` tasks sum to their number; 0 elsewhere.

    The mean weight is then 1, and with it the learning rate means what it does for equal weights.
    """
    own = torch.where(learned, shares, 0.0)
    return own * (learned.sum(1, keepdim=True) / row_sums(own))


def row_sums(values: Tensor) -> Tensor:
    """``[M, 1]`` of ``[M, T]``, rounded the same whatever rows, and whatever columns of zeros, stand beside them."""
    return reduce(torch.add, values.unbind(1))[:, None]
