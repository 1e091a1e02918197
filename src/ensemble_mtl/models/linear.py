"""Linear maps of stacks, in which each member has its own weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ensemble_mtl.core.runtime.rounding import product

if TYPE_CHECKING:
    from torch import Tensor


def apply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x_m W_mᵀ + b_m`` for every member m.

    Args:
        x: ``[M or 1, …, F_in]``; 1 where all members see the same input.
        weight: ``[M, F_out, F_in]``.
        bias: ``[M, F_out]`` or None.

    Returns:
        ``[M, …, F_out]``.
    """
    members, fan_out, fan_in = weight.shape
    rows = x.reshape(x.shape[0], -1, fan_in)
    if min(rows.shape[1], fan_out, fan_in) > 1 and bias is not None:
        out = bias[:, None].baddbmm(rows.expand(members, -1, -1), weight.mT)
    else:
        out = _product(rows, weight)
        out = out if bias is None else out + bias[:, None]
    return out.reshape(members, *x.shape[1:-1], fan_out)


def _product(rows: Tensor, weight: Tensor) -> Tensor:
    """``rows_m W_mᵀ``, rounded the same for a member in a stack of any size.

    Where W has a single row or column it is an elementwise product or a sum, which is quicker than :func:`product`.
    """
    if weight.shape[2] == 1:
        return rows * weight.mT
    if weight.shape[1] == 1:
        return (rows * weight).sum(-1, keepdim=True)
    return product(rows, weight.mT)


def named(x: Tensor, parameters: Mapping[str, Tensor], name: str) -> Tensor:
    """:func:`apply` with the parameters ``<name>.weight`` and, if there is one, ``<name>.bias``."""
    return apply(x, parameters[f"{name}.weight"], parameters.get(f"{name}.bias"))
