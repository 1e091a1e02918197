"""Linear maps of stacks: each member has a weight of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

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
    members, features = weight.shape[0], weight.shape[1]
    if features == 1:
        # A product with a vector goes another way for one member than for several, with
        # another rounding. Written out, a member does not depend on its stack.
        product = (x * weight.view(members, *[1] * (x.dim() - 2), -1)).sum(-1, keepdim=True)
        return product if bias is None else product + bias.view(members, *[1] * (x.dim() - 1))
    rows = x.reshape(x.shape[0], -1, x.shape[-1]).expand(members, -1, -1)
    product = rows @ weight.mT if bias is None else bias[:, None].baddbmm(rows, weight.mT)
    return product.view(members, *x.shape[1:-1], features)


def named(x: Tensor, parameters: Mapping[str, Tensor], name: str) -> Tensor:
    """:func:`apply` with ``name.weight`` and, if there is one, ``name.bias``."""
    return apply(x, parameters[f"{name}.weight"], parameters.get(f"{name}.bias"))
