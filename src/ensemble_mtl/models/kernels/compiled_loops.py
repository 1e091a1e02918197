"""What all compiled loops share: the compiler, when they may run, and their second derivatives.

Three rules for who writes a loop. Loops that call each other stand in one file: numba compiles anew when the file of
the outer one has changed, and does not look at other files. A loop over rows has few arrays, since the compiler tests
each pair of arrays for overlap and does not vectorise beyond eight tests. A loop never chooses between a new value and
the value that stands in its place, since that would become a masked store, which is slow.
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
    """Whether compiled loops may work on ``x``: it is on the CPU, and torch does not record or transform operations.

    It does so under a dispatch mode such as a tape, in the transformations of ``torch.func``, and in forward mode.
    """
    recorded = (
        torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
    )
    return x.device.type == "cpu" and x.dtype in TYPES and not recorded


Inputs = Sequence[Tensor | None]


def differentiable_gradients(
    by_torch: Callable[..., Tensor], inputs: Inputs, needed: Sequence[bool], gradient: Tensor
) -> Any:
    """Gradients with respect to the inputs that can be differentiated again, since torch's operations make them.

    Args:
        by_torch: the function of the inputs by torch's operations.
        inputs: its arguments; None for an optional one that is absent.
        needed: whether the gradient with respect to each input is needed.
        gradient: the gradient with respect to the function's value, of the value's shape.

    Returns:
        one gradient for each of ``needed``, of the input's shape; None where it is not needed.
    """
    # One input may have been computed from another. The gradient with respect to a view of it leaves that way out.
    views = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
    variables = [view for view, need in zip(views, needed, strict=False) if need and view is not None]
    gradients = iter(torch.autograd.grad(by_torch(*views), variables, gradient, create_graph=True))
    return [next(gradients) if need else None for need in needed]


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """A loop that is compiled at its first call, and kept beside the source, or in the user's cache, for later runs."""
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # neither of the two folders can be written
        return numba.njit(nogil=True, error_model="numpy")(function)


def inlined(function: Callable[..., None]) -> Callable[..., None]:
    """A part of a loop that is copied into the loop that calls it, where a call would take longer than the part."""
    return numba.njit(inline="always", error_model="numpy")(function)
