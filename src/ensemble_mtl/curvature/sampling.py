"""Random sign vectors, and means of samples with their standard errors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble_mtl.curvature.operator import Operator


@dataclass(frozen=True)
class SampleMean:
    """The mean of independent samples for each of M members.

    Of vᵀAv with random sign vectors v it is Hutchinson's estimate of tr A (Hutchinson 1990; Avron and Toledo 2011). The
    variance of one sample is then 2 Σ_{i≠j} A_ij², as small as it can be for independent components.

    Attributes:
        samples: ``[M, n]`` the values, float64.
    """

    samples: Tensor

    @property
    def mean(self) -> Tensor:
        """``[M]`` means."""
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


def rademacher(size: int, like: Operator | Tensor, generator: torch.Generator) -> Tensor:
    """``[1, size]`` independent random signs, of the type and on the device of ``like``; one row serves all members."""
    eights = torch.randint(0, 256, (-(-size // 8), 1), generator=generator, dtype=torch.uint8)
    bits = eights.to(like.device) >> torch.arange(8, dtype=torch.uint8, device=like.device) & 1
    return bits.flatten()[None, :size].to(like.dtype).mul_(2).sub_(1)
