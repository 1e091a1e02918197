"""A node's own values beside mean, extrema and standard deviation over its edges, in one pass.

For :mod:`ensemble_mtl.models.conv.pna`, where the values of an edge j -> i are y_ij = (value of j) + (shift of the kind
of the edge).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ensemble_mtl.models.kernels import pna_loops
from ensemble_mtl.models.kernels.compiled_loops import Array, differentiable_gradients

Rows = tuple[Array, ...]
"""The distinct edges of each node, see :attr:`ensemble_mtl.data.topology.Topology.compressed_rows`."""


def aggregate(
    x: Tensor, values: Tensor, shifts: Tensor | None, rows: Rows, floor: float, by_torch: Callable[..., Tensor]
) -> Tensor:
    """``[M, N, B, 5 F]``: x, then mean, minimum, maximum and standard deviation over each node's edges.

    Args:
        x: ``[M or 1, N, B, F]``.
        values: ``[M, N, B, F]`` values of the nodes at which edges begin.
        shifts: ``[M, K, 1, F]`` shifts of the kinds of edges, which are added to the values; or None.
        rows: the edges, see :attr:`ensemble_mtl.data.topology.Topology.compressed_rows`. At a node without any
            edge all four aggregates are 0.
        floor: a variance up to this counts as 0.
        by_torch: the same function of (x, values, shifts) by torch's operations, for second derivatives.

    Raises:
        ValueError: each graph has shifts of its own, for which there is no loop.
    """
    if shifts is not None and shifts.shape[2] != 1:
        raise ValueError(f"shifts: got the shape {tuple(shifts.shape)}, expected [M, K, 1, F]")
    apply: Callable[..., Any] = _Aggregate.apply
    # Copies are made here if they are needed; made inside of the function, they would have no derivatives.
    inputs = (None if tensor is None else tensor.contiguous() for tensor in (x, values, shifts))
    return apply(*inputs, rows, floor, by_torch)


class _Aggregate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, values: Tensor, shifts: Tensor | None, rows: Rows, floor: float, by_torch: Any
    ) -> Tensor:
        out = _aggregates(x, values, shifts, rows, floor)
        ctx.save_for_backward(x, values, shifts, out)
        ctx.rows, ctx.by_torch = rows, by_torch
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, values, shifts, out = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient will be differentiated again
            inputs = (x, values, shifts)
            return tuple(differentiable_gradients(ctx.by_torch, inputs, ctx.needs_input_grad, gradient))
        of_x = gradient[..., : x.shape[-1]].sum_to_size(x.shape) if ctx.needs_input_grad[0] else None
        return of_x, *_gradients(gradient, out, values, shifts, ctx.rows), None, None, None


def load(dtype: torch.dtype) -> None:
    """Compile the loops for one type, or load them if they were compiled before."""
    x = torch.zeros(1, 1, 1, 1, dtype=dtype)
    counts, no_edges = np.zeros((2, 1), x.numpy().dtype), np.zeros(0, int)
    rows = (np.zeros(2, int), no_edges, no_edges, counts[0, :0], counts[1])
    out = _aggregates(x, x, None, rows, 0.0)
    _gradients(out, out, x, None, rows)


def _aggregates(x: Tensor, values: Tensor, shifts: Tensor | None, rows: Rows, floor: float) -> Tensor:
    """The result of :func:`aggregate`."""
    out = values.new_empty(len(values), *x.shape[1:-1], 5 * x.shape[-1])
    floor = out.numpy().dtype.type(floor)
    pna_loops.forward(*_arrays(x, values), _array_of_shifts(shifts, values), *rows, floor, out.numpy())
    return out


def _gradients(
    gradient: Tensor, out: Tensor, values: Tensor, shifts: Tensor | None, rows: Rows
) -> tuple[Tensor, Tensor | None]:
    """Gradients with respect to values and shifts, from that with respect to ``out [M, N, B, 5 F]``."""
    of_values, of_shifts = torch.zeros_like(values), None if shifts is None else torch.zeros_like(shifts)
    inputs = gradient.contiguous().numpy(), out.detach().numpy(), *_arrays(values), _array_of_shifts(shifts, values)
    pna_loops.backward(*inputs, *rows, *_arrays(of_values), _array_of_shifts(of_shifts, values))
    return of_values, of_shifts


def _array_of_shifts(shifts: Tensor | None, values: Tensor) -> Array:
    """Shifts as an array ``[M, K, F]``; no shifts are an array of K = 0 kinds, of the type of the values."""
    return values.new_empty(1, 0, 1).numpy() if shifts is None else shifts.detach().flatten(2).numpy()


def _arrays(*tensors: Tensor) -> list[Array]:
    """Tensors ``[M, N, B, F]`` as arrays ``[M, N, B·F]`` on the same memory."""
    return [tensor.detach().flatten(2).numpy() for tensor in tensors]
