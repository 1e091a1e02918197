"""A node's own values beside mean, extrema and standard deviation of its neighbours', in one pass.

For :mod:`ensemble_mtl.models.conv.pna`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ensemble_mtl.kernels._loops import Array, add_moments, add_slope, add_where_equal, again, compiled, extend

Rows = tuple[Array, ...]

TILE = 512
"""About so many values of a node are worked on at a time, for all of its neighbours: the tiles fit into the fastest
cache."""


def aggregate(x: Tensor, values: Tensor, rows: Rows, floor: float, plain: Callable[..., Tensor]) -> Tensor:
    """``[M, N, B, 5 F]``: x, and mean, least, greatest and standard deviation of each node's values.

    Args:
        x: ``[M or 1, N, B, F]``.
        values: ``[M, K, B, F]``.
        rows: which of the K are a node's, see :attr:`ensemble_mtl.data.topology.Topology.neighbours`; all are 0 at a
            node without any.
        floor: variances up to it count as 0.
        plain: (x, values) to the same by torch's operations; what second derivatives are taken of.
    """
    apply: Callable[..., Any] = _Aggregate.apply
    return apply(x, values, rows, floor, plain)


class _Aggregate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, rows: Rows, floor: float, plain: Any) -> Tensor:
        x, values = x.contiguous(), values.contiguous()
        out = _aggregated(x, values, rows, floor)
        ctx.save_for_backward(x, values, out)
        ctx.rows, ctx.plain = rows, plain
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, values, out = ctx.saved_tensors
        if torch.is_grad_enabled():
            return tuple(again(ctx.plain, (x, values), ctx.needs_input_grad, gradient))
        of_values = _of_values(gradient, out, values, ctx.rows)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = gradient[..., : x.shape[-1]].sum_to_size(x.shape)
        return of_x, of_values, None, None, None


def load(dtype: torch.dtype) -> None:
    """Compile the loops for one type, or load what was compiled."""
    x, rows = torch.zeros(1, 1, 1, 1, dtype=dtype), (np.zeros(2, int), np.zeros(0, int))
    counts = np.zeros((2, 1), x.numpy().dtype)
    out = _aggregated(x, x, (*rows, counts[0, :0], counts[1]), 0.0)
    _of_values(out, out, x, (*rows, counts[0, :0], counts[1]))


def _aggregated(x: Tensor, values: Tensor, rows: Rows, floor: float) -> Tensor:
    out = values.new_empty(len(values), *x.shape[1:-1], 5 * x.shape[-1])
    _forward(*_arrays(x, values), *rows, out.numpy().dtype.type(floor), out.numpy())
    return out


def _of_values(gradient: Tensor, out: Tensor, values: Tensor, rows: Rows) -> Tensor:
    of_values = torch.zeros_like(values)
    _backward(gradient.contiguous().numpy(), out.detach().numpy(), *_arrays(values), *rows, *_arrays(of_values))
    return of_values


def _arrays(*tensors: Tensor) -> list[Array]:
    return [tensor.detach().flatten(2).numpy() for tensor in tensors]


@compiled
def _forward(
    x: Array,
    values: Array,
    start: Array,
    place: Array,
    count: Array,
    inverse: Array,
    floor: float,
    out: Array,
) -> None:
    members, nodes, graphs = out.shape[:3]
    width = out.shape[3] // 5
    some = max(1, min(graphs, TILE // width))
    work = np.zeros((6, some * width), values.dtype)
    for m in range(members):
        own = x[min(m, x.shape[0] - 1)]
        for i in range(nodes):
            for begin in range(0, graphs, some):
                end = min(begin + some, graphs)
                size, a, z = (end - begin) * width, begin * width, end * width
                total, square, high, low = work[0, :size], work[1, :size], work[2, :size], work[3, :size]
                next_high, next_low = work[4, :size], work[5, :size]
                total[:] = 0
                square[:] = 0
                if start[i] == start[i + 1]:
                    high[:] = 0
                    low[:] = 0
                else:
                    high[:] = values[m, place[start[i]], a:z]
                    low[:] = high
                for e in range(start[i], start[i + 1]):
                    row = values[m, place[e], a:z]
                    add_moments(row, count[e], total, square)
                    if e > start[i]:
                        extend(row, high, low, next_high, next_low)
                        high, next_high = next_high, high
                        low, next_low = next_low, low
                _finish(total, square, inverse[i], floor)
                for b in range(end - begin):
                    at, to = b * width, out[m, i, begin + b]
                    for f in range(width):
                        to[f] = own[i, a + at + f]
                    for f in range(width):
                        to[width + f] = total[at + f]
                    for f in range(width):
                        to[2 * width + f] = low[at + f]
                    for f in range(width):
                        to[3 * width + f] = high[at + f]
                    for f in range(width):
                        to[4 * width + f] = square[at + f]


@compiled
def _finish(total: Array, square: Array, inverse: float, floor: float) -> None:
    """Sums to mean and standard deviation, in place."""
    for d in range(total.shape[0]):
        total[d] *= inverse
    for d in range(total.shape[0]):
        variance = square[d] * inverse - total[d] * total[d]
        square[d] = np.sqrt(variance) if variance > floor else variance * 0


@compiled
def _backward(
    gradient: Array,
    out: Array,
    values: Array,
    start: Array,
    place: Array,
    count: Array,
    inverse: Array,
    of_values: Array,
) -> None:
    members, nodes, graphs = out.shape[:3]
    width = out.shape[3] // 5
    some = max(1, min(graphs, TILE // width))
    work = np.zeros((6, some * width), values.dtype)
    for m in range(members):
        for i in range(nodes):
            for begin in range(0, graphs, some):
                end = min(begin + some, graphs)
                size, a, z = (end - begin) * width, begin * width, end * width
                level, slope, low, high = work[0, :size], work[1, :size], work[2, :size], work[3, :size]
                lowest, highest = work[4, :size], work[5, :size]
                for b in range(end - begin):
                    at, g, o = b * width, gradient[m, i, begin + b], out[m, i, begin + b]
                    for f in range(width):
                        low[at + f] = g[2 * width + f]
                    for f in range(width):
                        high[at + f] = g[3 * width + f]
                    for f in range(width):
                        lowest[at + f] = o[2 * width + f]
                    for f in range(width):
                        highest[at + f] = o[3 * width + f]
                    for f in range(width):
                        std = o[4 * width + f]
                        slope[at + f] = inverse[i] * g[4 * width + f] / std if std > 0 else std * 0
                    for f in range(width):
                        level[at + f] = inverse[i] * g[width + f] - o[width + f] * slope[at + f]
                for e in range(start[i], start[i + 1]):
                    row, to = values[m, place[e], a:z], of_values[m, place[e], a:z]
                    add_slope(row, count[e], level, slope, to)
                    add_where_equal(row, lowest, low, to)
                    add_where_equal(row, highest, high, to)
