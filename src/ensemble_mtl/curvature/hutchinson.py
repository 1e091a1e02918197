"""Trace by Hutchinson's estimator (Hutchinson 1990; Avron and Toledo 2011)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble_mtl.curvature.operator import Operator


@dataclass(frozen=True)
class TraceEstimate:
    """Mean of vᵀAv over random sign vectors.

    Attributes:
        samples: ``[M, n]`` the values, float64.
    """

    samples: Tensor

    @property
    def mean(self) -> Tensor:
        """``[M]`` estimates of the traces."""
        return self.samples.mean(1)

    @property
    def sem(self) -> Tensor:
        """``[M]`` standard errors; infinite for a single sample, which tells nothing of its spread."""
        count = self.samples.shape[1]
        if count < 2:
            return torch.full_like(self.mean, float("inf"))
        # written out: torch's variance rounds otherwise for one member than for several
        square = (self.samples - self.mean[:, None]).square().sum(1)
        return (square / (count - 1) / count).sqrt()


def trace(operator: Operator, num_samples: int, generator: torch.Generator) -> TraceEstimate:
    """Estimate tr A from ``num_samples`` products.

    Each v has independent Rademacher components; all members get the same v, so that their
    estimates are paired. The variance is 2 Σ_{i≠j} A_ij², as small as it can be for
    independent components.
    """
    num_members, size = operator.shape
    values = []
    for _ in range(num_samples):
        v = rademacher(size, operator, generator).expand(num_members, size)
        values.append((v.double() * operator.matvec(v).double()).sum(1))
    return TraceEstimate(torch.stack(values, dim=1))


def rademacher(size: int, like: Operator | Tensor, generator: torch.Generator) -> Tensor:
    """``[1, size]`` signs, of the type and on the device of ``like``."""
    eights = torch.randint(0, 256, (-(-size // 8), 1), generator=generator, dtype=torch.uint8)
    bits = eights.to(like.device) >> torch.arange(8, dtype=torch.uint8, device=like.device) & 1
    return bits.flatten()[None, :size].to(like.dtype).mul_(2).sub_(1)
