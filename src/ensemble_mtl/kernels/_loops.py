"""What the loops share: elementary steps over rows, written so that the compiler vectorises them.

A loop has few arrays, since the compiler tests each pair for overlap and gives up beyond eight tests; and it never
chooses between a new value and the one that stands there, since that would become a masked store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import forward_ad

TYPES = (torch.float32, torch.float64)

Array = NDArray[Any]


def usable(x: Tensor) -> bool:
    """Whether compiled loops may work on ``x``: it is here, and nobody watches what is done to it."""
    watched = (
        torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
    )
    return x.device.type == "cpu" and x.dtype in TYPES and not watched


Inputs = Sequence[Tensor | None]


def again(plain: Callable[..., Tensor], inputs: Inputs, needed: Sequence[bool], gradient: Tensor) -> Any:
    """Gradients by torch's operations, which have derivatives themselves; None where none is needed."""
    # One input may depend on another; a view of it does not.
    views = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
    wanted = [view for view, need in zip(views, needed, strict=False) if need and view is not None]
    found = iter(torch.autograd.grad(plain(*views), wanted, gradient, create_graph=True))
    return [next(found) if need else None for need in needed]


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compiled when it is first called, and kept beside the source, or in the user's cache, for the next process."""
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # neither can be written
        return numba.njit(nogil=True, error_model="numpy")(function)


@compiled
def shifted(row: Array, shift: Array, out: Array) -> None:
    """The row, of one or several graphs, with a shift that is the same for each."""
    for at in range(0, row.shape[0], shift.shape[0]):
        for f in range(shift.shape[0]):
            out[at + f] = row[at + f] + shift[f]


@compiled
def add_both(row: Array, out: Array, total: Array) -> None:
    """The row to ``out``, and its sum over graphs to ``total``."""
    for d in range(row.shape[0]):
        out[d] += row[d]
    for at in range(0, row.shape[0], total.shape[0]):
        for f in range(total.shape[0]):
            total[f] += row[at + f]


@compiled
def extend(row: Array, high: Array, low: Array, new_high: Array, new_low: Array) -> None:
    """Elementwise extrema with one more row."""
    for d in range(row.shape[0]):
        v, x, z = row[d], high[d], low[d]
        new_high[d] = v if v > x else x
        new_low[d] = v if v < z else z


@compiled
def add_moments(row: Array, count: float, total: Array, square: Array) -> None:
    """``count`` times the row and its square."""
    for d in range(row.shape[0]):
        v = row[d]
        total[d] += count * v
        square[d] += count * v * v


@compiled
def add_slope(row: Array, count: float, level: Array, slope: Array, out: Array) -> None:
    """``count · (level + slope · row)``."""
    for d in range(row.shape[0]):
        out[d] += count * (level[d] + slope[d] * row[d])


@compiled
def add_where_equal(row: Array, extreme: Array, left: Array, out: Array) -> None:
    """``left`` to where the row has the extreme value; nothing is left of it then for the next row."""
    zero = row.dtype.type(0)  # left[d] * 0 would take three times as long
    for d in range(row.shape[0]):
        gradient = left[d]
        share = gradient if row[d] == extreme[d] else zero
        out[d] += share
        left[d] = gradient - share
