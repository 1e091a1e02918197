"""Normalisations of stacks, from elementary operations.

torch's fused batch and layer norms have wrong second-order forward derivatives; these have
exact ones of every order, and statistics per member.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ensemble_mtl.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

EPSILON = 1e-5
MOMENTUM = 0.1


def batch_norm(
    x: Tensor, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], name: str, *, training: bool
) -> Tensor:
    """Normalise ``x [M, N, B, F]`` over nodes and graphs (Ioffe and Szegedy 2015).

    In training the batch's own statistics are used, and the running ones in ``buffers``
    move towards them in place (momentum 0.1, unbiased variance), as in torch.
    """
    running_mean, running_var = buffers[f"{name}.running_mean"], buffers[f"{name}.running_var"]
    if training:
        # Plain means: torch's var_mean over these axes takes ten times as long on a CPU.
        mean = x.mean(dim=(1, 2))
        centered = x - mean[:, None, None]
        var = (centered * centered).mean(dim=(1, 2))
        count = x.shape[1] * x.shape[2]
        with torch.no_grad():
            running_mean.lerp_(mean, MOMENTUM)
            running_var.lerp_(var * (count / max(count - 1, 1)), MOMENTUM)
    else:
        centered, var = x - running_mean[:, None, None], running_var
    scale = parameters[f"{name}.weight"] * (var + EPSILON).rsqrt()
    return torch.addcmul(parameters[f"{name}.bias"][:, None, None], centered, scale[:, None, None])


LAYER_EPSILON = 1e-6
"""As in flax, with which the graph networks of New 2022 were built."""


def layer_norm(x: Tensor, parameters: Mapping[str, Tensor], name: str) -> Tensor:
    """Normalise ``x [M, …, F]`` over its features (Ba et al. 2016, arXiv:1607.06450)."""
    centered = x - x.mean(-1, keepdim=True)
    var = (centered * centered).mean(-1, keepdim=True)
    axes = (slice(None), *(None,) * (x.dim() - 2))
    weight, bias = parameters[f"{name}.weight"][axes], parameters[f"{name}.bias"][axes]
    return torch.addcmul(bias, centered * (var + LAYER_EPSILON).rsqrt(), weight)
