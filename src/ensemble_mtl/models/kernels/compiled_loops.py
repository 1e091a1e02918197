"""What the loops share.

Loops that call each other stand in one file: numba compiles anew when the file of the outer one has changed, and does
not look at others. A loop over rows has few arrays, since the compiler tests each pair for overlap and gives up beyond
eight tests; and it never chooses between a new value and the one that stands there, since that would become a masked
store.
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
