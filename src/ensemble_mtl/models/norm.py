"""Batch norm and layer norm of stacks, from elementary operations.

Both subtract a mean μ, divide by a standard deviation, and apply a learned scale w and shift b to each feature:

    y = w (x − μ) / √(σ² + ε) + b

Batch norm takes μ and σ² of each feature over nodes and graphs, layer norm of each row over its features. torch's fused
operations for them have wrong second-order forward derivatives; these have exact ones of every order. Statistics are
those of each member alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ensemble_mtl.core.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.models import kernels
else:
    torch = lazy_import("torch")
    kernels = lazy_import("ensemble_mtl.models.kernels")

EPSILON = 1e-5
"""ε of batch norm, as in torch."""
MOMENTUM = 0.1
"""Share of a batch's statistics in the running ones, as in torch."""


def batch_norm(
    x: Tensor, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], name: str, *, training: bool
) -> Tensor:
    """Normalise ``x [M, N, B, F]`` over nodes and graphs (Ioffe and Szegedy 2015).

    In training, mean and variance are the batch's, and the running ones in ``buffers`` move towards them in place, as
    in torch (momentum 0.1, unbiased variance). Otherwise they are the running ones.

    Args:
        x: node values.
        parameters: ``<name>.weight`` w and ``<name>.bias`` b, ``[M, F]`` each.
        buffers: ``<name>.running_mean`` and ``<name>.running_var``, ``[M, F]`` each.
        name: prefix of the names of its parameters and buffers.
        training: whether the batch's statistics are used.
    """
    if training:
        # Plain means: torch's var_mean over these axes takes ten times as long on a CPU.
        mean = x.mean(dim=(1, 2))
        centered = x - mean[:, None, None]
        var = (centered * centered).mean(dim=(1, 2))
        _update_running_statistics(mean, var, x.shape[1] * x.shape[2], buffers, name)
    else:
        centered, var = x - buffers[f"{name}.running_mean"][:, None, None], buffers[f"{name}.running_var"]
    return _scale_and_shift(centered, var, parameters[f"{name}.weight"], parameters[f"{name}.bias"])


def batch_norm_relu(
    x: Tensor, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], name: str, *, training: bool
) -> Tensor:
    """max(0, :func:`batch_norm`), with the same arguments; by compiled loops in training on a CPU."""
    if not training or not kernels.usable(x):
        return torch.relu(batch_norm(x, parameters, buffers, name, training=training))
    weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
    out, mean, var = kernels.batch_norm_relu(x, weight, bias, EPSILON, batch_norm_relu_by_torch)
    _update_running_statistics(mean, var, x.shape[1] * x.shape[2], buffers, name)
    return out


def batch_norm_relu_by_torch(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """:func:`batch_norm_relu` in training, by torch's operations, and without running statistics.

    Args:
        x: ``[M, N, B, F]``.
        weight: ``[M, F]`` w.
        bias: ``[M, F]`` b.
    """
    centered = x - x.mean(dim=(1, 2))[:, None, None]
    return torch.relu(_scale_and_shift(centered, (centered * centered).mean(dim=(1, 2)), weight, bias))


def _scale_and_shift(centered: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(x − μ) · w / √(σ² + ε) + b, from x − μ ``[M, N, B, F]`` and ``[M, F]``."""
    scale = weight * (var + EPSILON).rsqrt()
    return torch.addcmul(bias[:, None, None], centered, scale[:, None, None])


def _update_running_statistics(mean: Tensor, var: Tensor, count: int, buffers: Mapping[str, Tensor], name: str) -> None:
    """Move the running mean and variance ``[M, F]`` towards those of a batch of ``count`` rows, in place."""
    with torch.no_grad():
        buffers[f"{name}.running_mean"].lerp_(mean, MOMENTUM)
        buffers[f"{name}.running_var"].lerp_(var * (count / max(count - 1, 1)), MOMENTUM)


LAYER_EPSILON = 1e-6
"""ε of layer norm, as in flax, with which the graph networks of New 2022 were built."""


def layer_norm(x: Tensor, parameters: Mapping[str, Tensor], name: str) -> Tensor:
    """Normalise each row of ``x [M, …, F]`` over its features (Ba et al. 2016, arXiv:1607.06450).

    ``parameters`` has w ``[M, F]`` as ``<name>.weight`` and b ``[M, F]`` as ``<name>.bias``.
    """
    centered = x - x.mean(-1, keepdim=True)
    var = (centered * centered).mean(-1, keepdim=True)
    axes = (slice(None), *(None,) * (x.dim() - 2))  # [M, F] as [M, 1, …, 1, F]
    weight, bias = parameters[f"{name}.weight"][axes], parameters[f"{name}.bias"][axes]
    return torch.addcmul(bias, centered * (var + LAYER_EPSILON).rsqrt(), weight)
