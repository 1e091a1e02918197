"""A node's own values beside mean, extrema and standard deviation of its neighbours', in one pass.

For :mod:`ensemble_mtl.models.conv.pna`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ensemble_mtl.models.kernels.compiled_loops import Array, again, compiled

Rows = tuple[Array, ...]

TILE = 512
"""About so many values of a node are worked on at a time, for all of its neighbours: the tiles fit into the fastest
cache."""


def aggregate(
    x: Tensor, values: Tensor, shifts: Tensor | None, rows: Rows, floor: float, plain: Callable[..., Tensor]
) -> Tensor:
    """``[M, N, B, 5 F]``: x, and mean, least, greatest and standard deviation over each node's edges.

    Args:
        x: ``[M or 1, N, B, F]``.
        values: ``[M, N, B, F]``, of the edges' sources.
        shifts: ``[M, K, 1, F]``, of the edges' kinds, which are added to the values; or None.
        rows: the edges, see :attr:`ensemble_mtl.data.topology.Topology.neighbours`; all is 0 at a node without any.
        floor: variances up to it count as 0.
        plain: (x, values, shifts) to the same by torch's operations; what second derivatives are taken of.

    Raises:
        ValueError: graphs have shifts of their own, for which there is no loop.
    """
    if shifts is not None and shifts.shape[2] != 1:
        raise ValueError(f"shifts: got the shape {tuple(shifts.shape)}, expected [M, K, 1, F]")
    apply: Callable[..., Any] = _Aggregate.apply
    # here and not in there, where a copy would have no derivatives
    inputs = (None if tensor is None else tensor.contiguous() for tensor in (x, values, shifts))
    return apply(*inputs, rows, floor, plain)


class _Aggregate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, values: Tensor, shifts: Tensor | None, rows: Rows, floor: float, plain: Any
    ) -> Tensor:
        out = _aggregated(x, values, shifts, rows, floor)
        ctx.save_for_backward(x, values, shifts, out)
        ctx.rows, ctx.plain = rows, plain
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, values, shifts, out = ctx.saved_tensors
        if torch.is_grad_enabled():
            return tuple(again(ctx.plain, (x, values, shifts), ctx.needs_input_grad, gradient))
        of_x = gradient[..., : x.shape[-1]].sum_to_size(x.shape) if ctx.needs_input_grad[0] else None
        return of_x, *_gradients(gradient, out, values, shifts, ctx.rows), None, None, None


def load(dtype: torch.dtype) -> None:
    """Compile the loops for one type, or load what was compiled."""
    x = torch.zeros(1, 1, 1, 1, dtype=dtype)
    counts, none = np.zeros((2, 1), x.numpy().dtype), np.zeros(0, int)
    rows = (np.zeros(2, int), none, none, counts[0, :0], counts[1])
    out = _aggregated(x, x, None, rows, 0.0)
    _gradients(out, out, x, None, rows)


def _aggregated(x: Tensor, values: Tensor, shifts: Tensor | None, rows: Rows, floor: float) -> Tensor:
    out = values.new_empty(len(values), *x.shape[1:-1], 5 * x.shape[-1])
    _forward(*_arrays(x, values), _array(shifts, values), *rows, out.numpy().dtype.type(floor), out.numpy())
    return out


def _gradients(
    gradient: Tensor, out: Tensor, values: Tensor, shifts: Tensor | None, rows: Rows
) -> tuple[Tensor, Tensor | None]:
    found = torch.zeros_like(values), None if shifts is None else torch.zeros_like(shifts)
    of_values, of_shifts = *_arrays(found[0]), _array(found[1], values)
    given = gradient.contiguous().numpy(), out.detach().numpy(), *_arrays(values), _array(shifts, values)
    _backward(*given, *rows, of_values, of_shifts)
    return found


def _array(shifts: Tensor | None, values: Tensor) -> Array:
    return values.new_empty(1, 0, 1).numpy() if shifts is None else shifts.detach().flatten(2).numpy()


def _arrays(*tensors: Tensor) -> list[Array]:
    return [tensor.detach().flatten(2).numpy() for tensor in tensors]


@compiled
def _shifted(row: Array, shift: Array, out: Array) -> None:
    """The row, of one or several graphs, with a shift that is the same for each."""
    for at in range(0, row.shape[0], shift.shape[0]):
        for f in range(shift.shape[0]):
            out[at + f] = row[at + f] + shift[f]


@compiled
def _add_both(row: Array, out: Array, total: Array) -> None:
    """The row to ``out``, and its sum over graphs to ``total``."""
    for d in range(row.shape[0]):
        out[d] += row[d]
    for at in range(0, row.shape[0], total.shape[0]):
        for f in range(total.shape[0]):
            total[f] += row[at + f]


@compiled
def _extend(row: Array, high: Array, low: Array, new_high: Array, new_low: Array) -> None:
    """Elementwise extrema with one more row."""
    for d in range(row.shape[0]):
        v, x, z = row[d], high[d], low[d]
        new_high[d] = v if v > x else x
        new_low[d] = v if v < z else z


@compiled
def _add_moments(row: Array, count: float, total: Array, square: Array) -> None:
    """``count`` times the row and its square."""
    for d in range(row.shape[0]):
        v = row[d]
        total[d] += count * v
        square[d] += count * v * v


@compiled
def _add_slope(row: Array, count: float, level: Array, slope: Array, out: Array) -> None:
    """``count · (level + slope · row)``."""
    for d in range(row.shape[0]):
        out[d] += count * (level[d] + slope[d] * row[d])


@compiled
def _add_where_equal(row: Array, extreme: Array, left: Array, out: Array) -> None:
    """``left`` to where the row has the extreme value; nothing is left of it then for the next row."""
    zero = row.dtype.type(0)  # left[d] * 0 would take three times as long
    for d in range(row.shape[0]):
        gradient = left[d]
        share = gradient if row[d] == extreme[d] else zero
        out[d] += share
        left[d] = gradient - share


@compiled
def _forward(
    x: Array,
    values: Array,
    shifts: Array,
    start: Array,
    place: Array,
    kind: Array,
    count: Array,
    inverse: Array,
    floor: float,
    out: Array,
) -> None:
    members, nodes, graphs = out.shape[:3]
    width = out.shape[3] // 5
    some = max(1, min(graphs, TILE // width))
    work = np.zeros((7, some * width), values.dtype)
    for m in range(members):
        own = x[min(m, x.shape[0] - 1)]
        for i in range(nodes):
            for begin in range(0, graphs, some):
                end = min(begin + some, graphs)
                size, a, z = (end - begin) * width, begin * width, end * width
                total, square, high, low = work[0, :size], work[1, :size], work[2, :size], work[3, :size]
                next_high, next_low, moved = work[4, :size], work[5, :size], work[6, :size]
                work[:4] = 0
                for e in range(start[i], start[i + 1]):
                    row = values[m, place[e], a:z]
                    if shifts.shape[1] > 0:
                        _shifted(row, shifts[m, kind[e]], moved)
                        row = moved
                    _add_moments(row, count[e], total, square)
                    if e == start[i]:
                        high[:] = row
                        low[:] = row
                    else:
                        _extend(row, high, low, next_high, next_low)
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
    shifts: Array,
    start: Array,
    place: Array,
    kind: Array,
    count: Array,
    inverse: Array,
    of_values: Array,
    of_shifts: Array,
) -> None:
    members, nodes, graphs = out.shape[:3]
    width = out.shape[3] // 5
    some = max(1, min(graphs, TILE // width))
    work = np.zeros((8, some * width), values.dtype)
    for m in range(members):
        for i in range(nodes):
            for begin in range(0, graphs, some):
                end = min(begin + some, graphs)
                size, a, z = (end - begin) * width, begin * width, end * width
                level, slope, low, high = work[0, :size], work[1, :size], work[2, :size], work[3, :size]
                lowest, highest, moved, share = work[4, :size], work[5, :size], work[6, :size], work[7, :size]
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
                    if shifts.shape[1] > 0:
                        _shifted(row, shifts[m, kind[e]], moved)
                        row, to = moved, share
                        share[:] = 0
                    _add_slope(row, count[e], level, slope, to)
                    _add_where_equal(row, lowest, low, to)
                    _add_where_equal(row, highest, high, to)
                    if shifts.shape[1] > 0:
                        _add_both(share, of_values[m, place[e], a:z], of_shifts[m, kind[e]])
