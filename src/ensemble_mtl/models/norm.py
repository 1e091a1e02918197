"""Normalisations of stacks, from elementary operations.

torch's fused batch and layer norms have wrong second-order forward derivatives; these have
exact ones of every order, and statistics per member.
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
MOMENTUM = 0.1


def batch_norm(
    x: Tensor, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], name: str, *, training: bool
) -> Tensor:
    """Normalise ``x [M, N, B, F]`` over nodes and graphs (Ioffe and Szegedy 2015).

    In training the batch's own statistics are used, and the running ones in ``buffers``
    move towards them in place (momentum 0.1, unbiased variance), as in torch.
    """
    if training:
        # Plain means: torch's var_mean over these axes takes ten times as long on a CPU.
        mean = x.mean(dim=(1, 2))
        centered = x - mean[:, None, None]
        var = (centered * centered).mean(dim=(1, 2))
        _remember(mean, var, x.shape[1] * x.shape[2], buffers, name)
    else:
        centered, var = x - buffers[f"{name}.running_mean"][:, None, None], buffers[f"{name}.running_var"]
    return _scaled(centered, var, parameters[f"{name}.weight"], parameters[f"{name}.bias"])


def batch_norm_relu(
    x: Tensor, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], name: str, *, training: bool
) -> Tensor:
    """max(0, :func:`batch_norm`), by compiled loops in training on a CPU."""
    if not training or not kernels.usable(x):
        return torch.relu(batch_norm(x, parameters, buffers, name, training=training))
    weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
    out, mean, var = kernels.batch_norm_relu(x, weight, bias, EPSILON, plain)
    _remember(mean, var, x.shape[1] * x.shape[2], buffers, name)
    return out


def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same in training, by torch's operations, of ``weight`` and ``bias [M, F]``."""
    centered = x - x.mean(dim=(1, 2))[:, None, None]
    return torch.relu(_scaled(centered, (centered * centered).mean(dim=(1, 2)), weight, bias))


def _scaled(centered: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    scale = weight * (var + EPSILON).rsqrt()
    return torch.addcmul(bias[:, None, None], centered, scale[:, None, None])


def _remember(mean: Tensor, var: Tensor, count: int, buffers: Mapping[str, Tensor], name: str) -> None:
    with torch.no_grad():
        buffers[f"{name}.running_mean"].lerp_(mean, MOMENTUM)
        buffers[f"{name}.running_var"].lerp_(var * (count / max(count - 1, 1)), MOMENTUM)


LAYER_EPSILON = 1e-6
"""As in flax, with which the graph networks of New 2022 were built."""


def layer_norm(x: Tensor, parameters: Mapping[str, Tensor], name: str) -> Tensor:
    """Normalise ``x [M, …, F]`` over its features (Ba et al. 2016, arXiv:1607.06450)."""
    centered = x - x.mean(-1, keepdim=True)
    var = (centered * centered).mean(-1, keepdim=True)
    axes = (slice(None), *(None,) * (x.dim() - 2))
    weight, bias = parameters[f"{name}.weight"][axes], parameters[f"{name}.bias"][axes]
    return torch.addcmul(bias, centered * (var + LAYER_EPSILON).rsqrt(), weight)
