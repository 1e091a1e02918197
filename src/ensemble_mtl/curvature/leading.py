"""Leading eigenpairs: the converged Ritz pairs of a Lanczos run."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble_mtl.core.runtime.rounding import product
from ensemble_mtl.curvature.lanczos import BREAKDOWN, Tridiagonal, ritz

CONVERGED = 1e-2
"""A pair counts as converged if its residual is below this share of its eigenvalue, which is then off
by the square of it, about."""


@dataclass(frozen=True)
class Leading:
    """Eigenpairs in order of magnitude, the largest first.

    Attributes:
        values: ``[M, C]`` float64; NaN where fewer have converged.
        residuals: ``[M, C]`` ‖Av − θv‖, float64; an eigenvalue lies within this of θ.
        vectors: ``[M, C, P]`` unit vectors; 0 where fewer have converged.
    """

    values: Tensor
    residuals: Tensor
    vectors: Tensor


def leading(run: Tridiagonal, count: int) -> Leading:
    """The first ``count`` converged pairs (or all, if there are fewer) of each member.

    The residual is β |s_K| of the exact recurrence, plus what the recurrence takes for rounding.
    """
    values, vectors, residuals = _with_residuals(run)
    magnitude = values.abs().nan_to_num(nan=0.0)
    converged = (residuals <= CONVERGED * magnitude) & (magnitude > 0)
    order = torch.where(converged, magnitude, -1.0).argsort(dim=1, descending=True, stable=True)[:, :count]
    found = converged.gather(1, order)
    chosen = vectors.gather(2, order[:, None].expand(-1, vectors.shape[1], -1)).mT
    chosen = torch.where(found[..., None], chosen, 0.0).to(run.basis.dtype)
    nothing = float("nan")
    return Leading(
        torch.where(found, values.gather(1, order), nothing),
        torch.where(found, residuals.gather(1, order), nothing),
        product(chosen, run.basis),
    )


def ends(run: Tridiagonal) -> tuple[Tensor, Tensor]:
    """Smallest and largest Ritz value ``[M, 2]`` and their residuals ``[M, 2]``, converged or not; float64."""
    values, _, residuals = _with_residuals(run)
    places = torch.stack([torch.zeros_like(run.steps), run.steps - 1], dim=1)
    return values.gather(1, places), residuals.gather(1, places)


def _with_residuals(run: Tridiagonal) -> tuple[Tensor, Tensor, Tensor]:
    """Ritz values ``[M, K]``, vectors of T ``[M, K, K]`` and residuals ``[M, K]``."""
    values, vectors = ritz(run)
    rounding = BREAKDOWN * torch.finfo(run.basis.dtype).eps * values.abs().nan_to_num(nan=0.0).amax(1, keepdim=True)
    return values, vectors, run.coupling[:, None] * vectors[:, -1].abs() + rounding
