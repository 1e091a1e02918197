"""Scaling of weights that are defined only up to a common factor."""

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
    """Return ``shares [M, T]``, scaled so that those of the tasks that a member learns have a mean of 1; 0 elsewhere.

    With a mean weight of 1 the learning rate means the same as for equal weights.

    Args:
        shares: ``[M, T]`` positive weights, up to a factor for each member.
        learned: ``[M, T]`` bool, whether the member learns the task.
    """
    shares_of_learned = torch.where(learned, shares, 0.0)
    return shares_of_learned * (learned.sum(1, keepdim=True) / row_sums(shares_of_learned))


def row_sums(values: Tensor) -> Tensor:
    """Return the sums ``[M, 1]`` of the rows of ``values [M, T]``.

    They are rounded the same whatever other rows, and whatever columns of zeros, ``values`` has: columns are added one
    after the other, where ``sum`` may group them.
    """
    return reduce(torch.add, values.unbind(1))[:, None]
