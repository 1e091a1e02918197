"""Batch norm and ReLU in one pass, for :mod:`ensemble_mtl.models.norm`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ensemble_mtl.models.kernels.compiled_loops import Array, again, compiled

ROWS = 64
"""Rows that are summed side by side."""


def batch_norm_relu(
    x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, plain: Callable[..., Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """max(0, (x − mean) / √(variance + ε) · weight + bias), mean and variance, the last two without gradient.

    Args:
        x: ``[M, N, B, F]``; statistics are over N and B.
        weight: ``[M, F]``.
        bias: ``[M, F]``.
        epsilon: ε.
        plain: (x, weight, bias) to the first of them by torch's operations; what second derivatives are taken of.
    """
    apply: Callable[..., Any] = _BatchNormReLU.apply
    return apply(x.contiguous(), weight, bias, epsilon, plain)  # a copy made in there would have no derivatives


class _BatchNormReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, plain: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        out, mean, variance = _normed(x, weight, bias, epsilon)
        ctx.save_for_backward(x, weight, bias, mean, variance, out)
        ctx.epsilon, ctx.plain = epsilon, plain
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *others: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, variance, out = ctx.saved_tensors
        if torch.is_grad_enabled():
            return tuple(again(ctx.plain, (x, weight, bias), ctx.needs_input_grad, gradient))
        return *_gradients(gradient, x, out, weight, mean, (variance + ctx.epsilon).rsqrt()), None, None


def load(dtype: torch.dtype) -> None:
    """Compile the loops for one type, or load what was compiled."""
    x, weight = torch.zeros(1, 1, 1, 1, dtype=dtype), torch.zeros(1, 1, dtype=dtype)
    _normed(x, weight, weight, 1.0)
    _gradients(x, x, x, weight, weight, weight)


def _normed(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    out, mean, variance = torch.empty_like(x), torch.empty_like(bias), torch.empty_like(bias)
    _forward(*_rows(x), *_arrays(weight, bias, mean, variance), epsilon, *_rows(out))
    return out, mean, variance


def _gradients(
    gradient: Tensor, x: Tensor, out: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    of_x, of_weight, of_bias = torch.empty_like(x), torch.empty_like(mean), torch.empty_like(mean)
    found = [*_rows(of_x), *_arrays(of_weight, of_bias)]
    _backward(*_rows(gradient, x, out), *_arrays(weight, mean, inverse), *found)
    return of_x, of_weight, of_bias


def _rows(*tensors: Tensor) -> list[Array]:
    return _arrays(*(tensor.flatten(1) for tensor in tensors))


def _arrays(*tensors: Tensor) -> list[Array]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


@compiled
def _tiled(values: Array, tile: Array) -> None:
    for d in range(tile.shape[0]):
        tile[d] = values[d % values.shape[0]]


@compiled
def _folded(tile: Array, found: Array) -> None:
    found[:] = 0
    for d in range(tile.shape[0]):
        found[d % found.shape[0]] += tile[d]


@compiled
def _add(row: Array, tile: Array) -> None:
    for d in range(row.shape[0]):
        tile[d] += row[d]


@compiled
def _add_squares(row: Array, mean: Array, tile: Array) -> None:
    for d in range(row.shape[0]):
        centered = row[d] - mean[d]
        tile[d] += centered * centered


@compiled
def _write(row: Array, mean: Array, scale: Array, bias: Array, out: Array) -> None:
    for d in range(row.shape[0]):
        value = (row[d] - mean[d]) * scale[d] + bias[d]
        out[d] = value if value > 0 else value * 0


@compiled
def _forward(x: Array, weight: Array, bias: Array, mean: Array, variance: Array, epsilon: float, out: Array) -> None:
    width = weight.shape[1]
    step, count = ROWS * width, x.shape[1] // width
    tiles = np.empty((4, step), x.dtype)
    total, level, scale, shift = tiles[0], tiles[1], tiles[2], tiles[3]
    for m in range(x.shape[0]):
        total[:] = 0
        for at in range(0, x.shape[1], step):
            _add(x[m, at : at + step], total)
        _folded(total, mean[m])
        for f in range(width):
            mean[m, f] /= count
        _tiled(mean[m], level)
        total[:] = 0
        for at in range(0, x.shape[1], step):
            _add_squares(x[m, at : at + step], level, total)
        _folded(total, variance[m])
        for f in range(width):
            variance[m, f] /= count
            total[f] = weight[m, f] / np.sqrt(variance[m, f] + x.dtype.type(epsilon))
        _tiled(total[:width], scale)
        _tiled(bias[m], shift)
        for at in range(0, x.shape[1], step):
            _write(x[m, at : at + step], level, scale, shift, out[m, at : at + step])


@compiled
def _passed(gradient: Array, out: Array, to: Array) -> None:
    """What ReLU lets through."""
    for d in range(to.shape[0]):
        g = gradient[d]
        to[d] = g if out[d] > 0 else g * 0


@compiled
def _add_along(gradient: Array, row: Array, mean: Array, tile: Array) -> None:
    for d in range(row.shape[0]):
        tile[d] += gradient[d] * (row[d] - mean[d])


@compiled
def _projected(row: Array, mean: Array, scale: Array, first: Array, second: Array, to: Array) -> None:
    for d in range(row.shape[0]):
        to[d] = scale[d] * to[d] - first[d] - (row[d] - mean[d]) * second[d]


@compiled
def _backward(
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
    width = weight.shape[1]
    step, count = ROWS * width, x.shape[1] // width
    tiles = np.empty((5, step), x.dtype)
    level, total, along, first, second = tiles[0], tiles[1], tiles[2], tiles[3], tiles[4]
    for m in range(x.shape[0]):
        _tiled(mean[m], level)
        total[:] = 0
        along[:] = 0
        for at in range(0, x.shape[1], step):
            to = of_x[m, at : at + step]
            _passed(gradient[m, at : at + step], out[m, at : at + step], to)
            _add(to, total)
            _add_along(to, x[m, at : at + step], level, along)
        _folded(total, of_bias[m])
        _folded(along, of_weight[m])
        for f in range(width):
            scale = weight[m, f] * inverse[m, f]
            total[f] = scale
            along[f] = scale * of_bias[m, f] / count
            second[f] = scale * inverse[m, f] * inverse[m, f] * of_weight[m, f] / count
            of_weight[m, f] *= inverse[m, f]
        _tiled(along[:width], first)
        _tiled(second[:width], along)
        _tiled(total[:width], second)
        for at in range(0, x.shape[1], step):
            _projected(x[m, at : at + step], level, second, first, along, of_x[m, at : at + step])
