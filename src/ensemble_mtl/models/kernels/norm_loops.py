"""The compiled loops of :mod:`ensemble_mtl.models.kernels.norm`.

Values of a member are one row of N·B·F numbers, in which the feature changes fastest. A *tile* holds ROWS times the F
features, so that the innermost loops are long and vectorise for every F: sums over N and B are first taken for each of
the ROWS places of a tile, and then over these. With μ the mean, σ² the variance, w and b weight and bias of a feature:

    y = max(0, s (x − μ) + b),    s = w / √(σ² + ε)
"""

from __future__ import annotations

import numpy as np

from ensemble_mtl.models.kernels.compiled_loops import Array, compiled

ROWS = 64
"""Rows of F features that are summed side by side."""


@compiled
def _repeat(values: Array, tile: Array) -> None:
    """Puts ``values [F]`` into every row of the tile."""
    for d in range(tile.shape[0]):
        tile[d] = values[d % values.shape[0]]


@compiled
def _sum_of_rows(tile: Array, total: Array) -> None:
    """Writes ``total [F]``, the sum of the tile's rows."""
    total[:] = 0
    for d in range(tile.shape[0]):
        total[d % total.shape[0]] += tile[d]


@compiled
def _add(row: Array, tile: Array) -> None:
    """Adds x to the tile."""
    for d in range(row.shape[0]):
        tile[d] += row[d]


@compiled
def _add_squares(row: Array, mean: Array, tile: Array) -> None:
    """Adds (x − μ)² to the tile."""
    for d in range(row.shape[0]):
        centered = row[d] - mean[d]
        tile[d] += centered * centered


@compiled
def _write(row: Array, mean: Array, scale: Array, bias: Array, out: Array) -> None:
    """Writes max(0, s (x − μ) + b); NaN stays NaN."""
    for d in range(row.shape[0]):
        value = (row[d] - mean[d]) * scale[d] + bias[d]
        out[d] = value if value > 0 else value * 0


@compiled
def forward(x: Array, weight: Array, bias: Array, mean: Array, variance: Array, epsilon: float, out: Array) -> None:
    """Writes ``mean [M, F]``, ``variance [M, F]`` and ``out [M, N·B·F]``."""
    width = weight.shape[1]
    step, count = ROWS * width, x.shape[1] // width
    tiles = np.empty((4, step), x.dtype)
    total, mean_tile, scale, shift = tiles[0], tiles[1], tiles[2], tiles[3]
    for m in range(x.shape[0]):
        total[:] = 0
        for at in range(0, x.shape[1], step):
            _add(x[m, at : at + step], total)
        _sum_of_rows(total, mean[m])
        for f in range(width):
            mean[m, f] /= count
        _repeat(mean[m], mean_tile)
        total[:] = 0
        for at in range(0, x.shape[1], step):
            _add_squares(x[m, at : at + step], mean_tile, total)
        _sum_of_rows(total, variance[m])
        for f in range(width):
            variance[m, f] /= count
            total[f] = weight[m, f] / np.sqrt(variance[m, f] + x.dtype.type(epsilon))  # s
        _repeat(total[:width], scale)
        _repeat(bias[m], shift)
        for at in range(0, x.shape[1], step):
            _write(x[m, at : at + step], mean_tile, scale, shift, out[m, at : at + step])


@compiled
def _through_relu(gradient: Array, out: Array, to: Array) -> None:
    """Writes g, the gradient where the result is greater than 0, and else 0; NaN stays NaN."""
    for d in range(to.shape[0]):
        g = gradient[d]
        to[d] = g if out[d] > 0 else g * 0


@compiled
def _add_products(gradient: Array, row: Array, mean: Array, tile: Array) -> None:
    """Adds g (x − μ) to the tile."""
    for d in range(row.shape[0]):
        tile[d] += gradient[d] * (row[d] - mean[d])


@compiled
def _gradient_of_x(row: Array, mean: Array, scale: Array, first: Array, second: Array, to: Array) -> None:
    """Makes g to s g − first − (x − μ) second, in place."""
    for d in range(row.shape[0]):
        to[d] = scale[d] * to[d] - first[d] - (row[d] - mean[d]) * second[d]


@compiled
def backward(
    gradient: Array,
    x: Array,
    out: Array,
    weight: Array,
    mean: Array,
    inverse: Array,
    of_x: Array,
    of_weight: Array,
    of_bias: Array,
) -> None:
    """Writes the gradients with respect to x ``[M, N·B·F]``, weight and bias ``[M, F]``.

    With g the gradient that ReLU lets through, i = 1 / √(σ² + ε), n = N·B and s = w i:

        of bias: Σ g    of weight: i Σ g (x − μ)    of x: s g − (s / n) Σ g − (x − μ) (s i² / n) Σ g (x − μ)
    """
    width = weight.shape[1]
    step, count = ROWS * width, x.shape[1] // width
    tiles = np.empty((5, step), x.dtype)
    mean_tile, total, products, first, second = tiles[0], tiles[1], tiles[2], tiles[3], tiles[4]
    for m in range(x.shape[0]):
        _repeat(mean[m], mean_tile)
        total[:] = 0
        products[:] = 0
        for at in range(0, x.shape[1], step):
            to = of_x[m, at : at + step]
            _through_relu(gradient[m, at : at + step], out[m, at : at + step], to)
            _add(to, total)
            _add_products(to, x[m, at : at + step], mean_tile, products)
        _sum_of_rows(total, of_bias[m])
        _sum_of_rows(products, of_weight[m])
        # The tiles are used again: the first F places of three of them hold s and the two constant coefficients.
        for f in range(width):
            scale = weight[m, f] * inverse[m, f]
            total[f] = scale
            products[f] = scale * of_bias[m, f] / count
            second[f] = scale * inverse[m, f] * inverse[m, f] * of_weight[m, f] / count
            of_weight[m, f] *= inverse[m, f]
        _repeat(products[:width], first)
        _repeat(second[:width], products)
        _repeat(total[:width], second)
        for at in range(0, x.shape[1], step):
            _gradient_of_x(x[m, at : at + step], mean_tile, second, first, products, of_x[m, at : at + step])
