"""Batch norm and ReLU in one pass over the data, for :mod:`ensemble_mtl.models.norm`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ensemble_mtl.models.kernels import norm_loops
from ensemble_mtl.models.kernels.compiled_loops import Array, differentiable_gradients


def batch_norm_relu(
    x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, by_torch: Callable[..., Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """max(0, (x − mean) / √(variance + ε) · weight + bias), mean and variance; the last two have no gradient.

    Args:
        x: ``[M, N, B, F]``; mean and variance are over N and B.
        weight: ``[M, F]``.
        bias: ``[M, F]``.
        epsilon: ε.
        by_torch: the first result as a function of (x, weight, bias) by torch's operations, for second derivatives.

    Returns:
        the result ``[M, N, B, F]``, the mean ``[M, F]`` and the variance ``[M, F]`` (not corrected for its bias).
    """
    apply: Callable[..., Any] = _BatchNormReLU.apply
    # A copy is made here if it is needed; made inside of the function, it would have no derivatives.
    return apply(x.contiguous(), weight, bias, epsilon, by_torch)


class _BatchNormReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, by_torch: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        out, mean, variance = _values(x, weight, bias, epsilon)
        ctx.save_for_backward(x, weight, bias, mean, variance, out)
        ctx.epsilon, ctx.by_torch = epsilon, by_torch
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, variance, out = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient will be differentiated again
            inputs = (x, weight, bias)
            return tuple(differentiable_gradients(ctx.by_torch, inputs, ctx.needs_input_grad, gradient))
        return *_gradients(gradient, x, out, weight, mean, (variance + ctx.epsilon).rsqrt()), None, None


def load(dtype: torch.dtype) -> None:
    """Compile the loops for one type, or load them if they were compiled before."""
    x, weight = torch.zeros(1, 1, 1, 1, dtype=dtype), torch.zeros(1, 1, dtype=dtype)
    _values(x, weight, weight, 1.0)
    _gradients(x, x, x, weight, weight, weight)


def _values(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """The results of :func:`batch_norm_relu`."""
    out, mean, variance = torch.empty_like(x), torch.empty_like(bias), torch.empty_like(bias)
    norm_loops.forward(*_rows(x), *_arrays(weight, bias, mean, variance), epsilon, *_rows(out))
    return out, mean, variance


def _gradients(
    gradient: Tensor, x: Tensor, out: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to x, weight and bias; ``inverse [M, F]`` is 1 / √(variance + ε)."""
    of_x, of_weight, of_bias = torch.empty_like(x), torch.empty_like(mean), torch.empty_like(mean)
    results = [*_rows(of_x), *_arrays(of_weight, of_bias)]
    norm_loops.backward(*_rows(gradient, x, out), *_arrays(weight, mean, inverse), *results)
    return of_x, of_weight, of_bias


def _rows(*tensors: Tensor) -> list[Array]:
    """Tensors ``[M, N, B, F]`` as arrays ``[M, N·B·F]``."""
    return _arrays(*(tensor.flatten(1) for tensor in tensors))


def _arrays(*tensors: Tensor) -> list[Array]:
    """Arrays on the memory of the tensors, or of copies where these are not contiguous."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
