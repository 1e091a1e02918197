"""Weights that are only known up to a factor."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from ensemble_mtl.lazy import lazy_import

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
    # column by column: the sum of a row is then rounded the same whatever rows stand beside it
    return own * (learned.sum(1, keepdim=True) / reduce(torch.add, own.unbind(1))[:, None])
