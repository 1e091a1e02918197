"""The compiled loops of :mod:`ensemble_mtl.models.kernels.pna`.

Arrays of nodes are ``[M, N, B·F]``: the values of a node in all graphs lie side by side, so that the innermost loops
are long. ``width`` is F. Edges that enter node i are those from ``start[i]`` to ``start[i + 1]``; edge e begins at the
node ``source[e]``, is of the kind ``kind[e]``, and occurs ``count[e]`` times. ``inverse[i]`` is 1/n_i, with n_i the
number of these edges, each counted as often as it occurs. With c_e for ``count[e]`` and y_e the values of an edge:

    mean = Σ c_e y_e / n_i,    variance = Σ c_e y_e² / n_i − mean²,    standard deviation = √variance
"""

from __future__ import annotations

import numpy as np

from ensemble_mtl.models.kernels.compiled_loops import Array, compiled, inlined

TILE = 512
"""About so many values of a node are worked on at a time, for all of its edges, so that they fit into the fastest
cache."""


@compiled
def _shifted(row: Array, shift: Array, out: Array) -> None:
    """Writes the row of one or several graphs plus a shift ``[F]``, which is the same for each of them."""
    for at in range(0, row.shape[0], shift.shape[0]):
        for f in range(shift.shape[0]):
            out[at + f] = row[at + f] + shift[f]


@compiled
def _add_to_both(row: Array, out: Array, total: Array) -> None:
    """Adds the row to ``out``, and its sum over graphs to ``total [F]``: the derivatives of :func:`_shifted`."""
    for d in range(row.shape[0]):
        out[d] += row[d]
    for at in range(0, row.shape[0], total.shape[0]):
        for f in range(total.shape[0]):
            total[f] += row[at + f]


@compiled
def _extend_extrema(row: Array, high: Array, low: Array, new_high: Array, new_low: Array) -> None:
    """Writes elementwise maximum and minimum with one more row."""
    for d in range(row.shape[0]):
        v, x, z = row[d], high[d], low[d]
        new_high[d] = v if v > x else x
        new_low[d] = v if v < z else z


@compiled
def _add_moments(row: Array, count: float, total: Array, square: Array) -> None:
    """Adds c y to ``total``, and c y² to ``square``."""
    for d in range(row.shape[0]):
        v = row[d]
        total[d] += count * v
        square[d] += count * v * v


@compiled
def _finish_moments(total: Array, square: Array, inverse: float, floor: float) -> None:
    """Makes sums of y and y² their mean and standard deviation, in place."""
    for d in range(total.shape[0]):
        total[d] *= inverse
    for d in range(total.shape[0]):
        variance = square[d] * inverse - total[d] * total[d]
        square[d] = np.sqrt(variance) if variance > floor else variance * 0


@inlined
def _write(x: Array, mean: Array, low: Array, high: Array, std: Array, out: Array) -> None:
    """Puts the five values of each graph, each ``[graphs · F]``, side by side into ``out [graphs, 5 F]``."""
    width = out.shape[1] // 5
    for b in range(out.shape[0]):
        at, to = b * width, out[b]
        for f in range(width):
            to[f] = x[at + f]
        for f in range(width):
            to[width + f] = mean[at + f]
        for f in range(width):
            to[2 * width + f] = low[at + f]
        for f in range(width):
            to[3 * width + f] = high[at + f]
        for f in range(width):
            to[4 * width + f] = std[at + f]


@compiled
def forward(
    x: Array,
    values: Array,
    shifts: Array,
    start: Array,
    source: Array,
    kind: Array,
    count: Array,
    inverse: Array,
    floor: float,
    out: Array,
) -> None:
    """Writes ``out [M, N, B, 5 F]``: x, then mean, minimum, maximum and standard deviation over each node's edges."""
    members, nodes, graphs = out.shape[:3]
    width = out.shape[3] // 5
    graphs_per_tile = max(1, min(graphs, TILE // width))
    work = np.zeros((7, graphs_per_tile * width), values.dtype)
    for m in range(members):
        x_of_member = x[min(m, x.shape[0] - 1)]  # there is one x for all members, or one for each
        for i in range(nodes):
            for begin in range(0, graphs, graphs_per_tile):
                end = min(begin + graphs_per_tile, graphs)
                size, a, z = (end - begin) * width, begin * width, end * width
                total, square, high, low = work[0, :size], work[1, :size], work[2, :size], work[3, :size]
                next_high, next_low, moved = work[4, :size], work[5, :size], work[6, :size]
                work[:4] = 0
                for e in range(start[i], start[i + 1]):
                    row = values[m, source[e], a:z]
                    if shifts.shape[1] > 0:
                        _shifted(row, shifts[m, kind[e]], moved)
                        row = moved
                    _add_moments(row, count[e], total, square)
                    if e == start[i]:
                        high[:] = row
                        low[:] = row
                    else:
                        _extend_extrema(row, high, low, next_high, next_low)
                        high, next_high = next_high, high
                        low, next_low = next_low, low
                _finish_moments(total, square, inverse[i], floor)
                _write(x_of_member[i, a:z], total, low, high, square, out[m, i, begin:end])


@compiled
def _add_gradient_of_moments(row: Array, count: float, level: Array, slope: Array, out: Array) -> None:
    """Adds c (level + slope · y) to ``out``."""
    for d in range(row.shape[0]):
        out[d] += count * (level[d] + slope[d] * row[d])


@compiled
def _add_where_equal(row: Array, extreme: Array, remaining: Array, out: Array) -> None:
    """Adds the gradient of an extremum to the first edge with the extreme value; then nothing of it remains."""
    zero = row.dtype.type(0)  # remaining[d] * 0 would take three times as long
    for d in range(row.shape[0]):
        gradient = remaining[d]
        share = gradient if row[d] == extreme[d] else zero
        out[d] += share
        remaining[d] = gradient - share


@inlined
def _read_extrema(gradient: Array, out: Array, of_low: Array, of_high: Array, low: Array, high: Array) -> None:
    """Copies minimum and maximum and the gradients of both, each ``[graphs · F]``, out of ``[graphs, 5 F]``."""
    width = out.shape[1] // 5
    for b in range(out.shape[0]):
        at, g, o = b * width, gradient[b], out[b]
        for f in range(width):
            of_low[at + f] = g[2 * width + f]
        for f in range(width):
            of_high[at + f] = g[3 * width + f]
        for f in range(width):
            low[at + f] = o[2 * width + f]
        for f in range(width):
            high[at + f] = o[3 * width + f]


@inlined
def _read_moments(gradient: Array, out: Array, inverse: float, level: Array, slope: Array) -> None:
    """Writes level and slope, with which mean and deviation have the gradient c_e (level + slope · y_e) for y_e.

    The derivatives of mean and standard deviation with respect to y_e are c_e / n and c_e (y_e − mean) / (n · std).
    With G the gradients with respect to them, slope = G_std / (n · std) and level = G_mean / n − mean · slope.
    """
    width = out.shape[1] // 5
    for b in range(out.shape[0]):
        at, g, o = b * width, gradient[b], out[b]
        for f in range(width):
            std = o[4 * width + f]
            slope[at + f] = inverse * g[4 * width + f] / std if std > 0 else std * 0
        for f in range(width):
            level[at + f] = inverse * g[width + f] - o[width + f] * slope[at + f]


@compiled
def backward(
    gradient: Array,
    out: Array,
    values: Array,
    shifts: Array,
    start: Array,
    source: Array,
    kind: Array,
    count: Array,
    inverse: Array,
    of_values: Array,
    of_shifts: Array,
) -> None:
    """Adds the gradients of values and shifts, from the ``gradient [M, N, B, 5 F]`` with respect to ``out``."""
    members, nodes, graphs = out.shape[:3]
    width = out.shape[3] // 5
    graphs_per_tile = max(1, min(graphs, TILE // width))
    work = np.zeros((8, graphs_per_tile * width), values.dtype)
    for m in range(members):
        for i in range(nodes):
            for begin in range(0, graphs, graphs_per_tile):
                end = min(begin + graphs_per_tile, graphs)
                size, a, z = (end - begin) * width, begin * width, end * width
                level, slope, of_low, of_high = work[0, :size], work[1, :size], work[2, :size], work[3, :size]
                low, high, moved, of_edge = work[4, :size], work[5, :size], work[6, :size], work[7, :size]
                g, o = gradient[m, i, begin:end], out[m, i, begin:end]
                _read_extrema(g, o, of_low, of_high, low, high)
                _read_moments(g, o, inverse[i], level, slope)
                for e in range(start[i], start[i + 1]):
                    row, to = values[m, source[e], a:z], of_values[m, source[e], a:z]
                    if shifts.shape[1] > 0:
                        _shifted(row, shifts[m, kind[e]], moved)
                        row, to = moved, of_edge
                        of_edge[:] = 0
                    _add_gradient_of_moments(row, count[e], level, slope, to)
                    _add_where_equal(row, low, of_low, to)
                    _add_where_equal(row, high, of_high, to)
                    if shifts.shape[1] > 0:
                        _add_to_both(of_edge, of_values[m, source[e], a:z], of_shifts[m, kind[e]])
