"""Leading eigenpairs: the Ritz pairs of a Lanczos run that have converged, in order of magnitude.

For an eigenpair T s = θ s of the tridiagonal matrix, the Ritz vector v = Q s has the residual Av − θv = β s_K q: its
norm is β |s_K|, with s_K the last component of s, and no product with A is needed to know it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble_mtl.core.runtime.rounding import product
from ensemble_mtl.curvature.lanczos import BREAKDOWN, Tridiagonal, ritz_pairs

CONVERGED = 1e-2
"""A pair counts as converged if its residual is below this share of its eigenvalue. The relative error of the
eigenvalue is about the square of this share."""


@dataclass(frozen=True)
class Leading:
    """Eigenpairs in order of magnitude, the largest first.

    Attributes:
        values: ``[M, C]`` eigenvalues, float64; NaN where fewer than C have converged.
        residuals: ``[M, C]`` ‖Av − θv‖, float64; there is an eigenvalue of A no further than this from θ.
        vectors: ``[M, C, P]`` unit vectors; 0 where fewer than C have converged.
    """

    values: Tensor
    residuals: Tensor
    vectors: Tensor


def leading_pairs(run: Tridiagonal, count: int) -> Leading:
    """The first ``count`` converged pairs of each member, or all of them if there are fewer."""
    values, vectors, residuals = _with_residuals(run)
    magnitude = values.abs().nan_to_num(nan=0.0)
    converged = (residuals <= CONVERGED * magnitude) & (magnitude > 0)
    order = torch.where(converged, magnitude, -1.0).argsort(dim=1, descending=True, stable=True)[:, :count]
    present = converged.gather(1, order)
    chosen = vectors.gather(2, order[:, None].expand(-1, vectors.shape[1], -1)).mT
    chosen = torch.where(present[..., None], chosen, 0.0).to(run.basis.dtype)
    nan = float("nan")
    return Leading(
        torch.where(present, values.gather(1, order), nan),
        torch.where(present, residuals.gather(1, order), nan),
        product(chosen, run.basis),  # v = Q s
    )


def extreme_ritz_values(run: Tridiagonal) -> tuple[Tensor, Tensor]:
    """Smallest and largest Ritz value ``[M, 2]`` and their residuals ``[M, 2]``, converged or not; float64."""
    values, _, residuals = _with_residuals(run)
    places = torch.stack([torch.zeros_like(run.steps), run.steps - 1], dim=1)
    return values.gather(1, places), residuals.gather(1, places)


def _with_residuals(run: Tridiagonal) -> tuple[Tensor, Tensor, Tensor]:
    """Ritz values ``[M, K]``, vectors of T ``[M, K, K]`` and residuals ``[M, K]``.

    A residual is β |s_K| plus the residual that Lanczos takes for rounding, since below that it ends.
    """
    values, vectors = ritz_pairs(run)
    rounding = BREAKDOWN * torch.finfo(run.basis.dtype).eps * values.abs().nan_to_num(nan=0.0).amax(1, keepdim=True)
    return values, vectors, run.coupling[:, None] * vectors[:, -1].abs() + rounding
