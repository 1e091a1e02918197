"""Batch normalisation of stacks, from elementary operations.

torch's fused batch norm has wrong second-order forward derivatives; these have exact ones
of every order, and statistics per member.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

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
