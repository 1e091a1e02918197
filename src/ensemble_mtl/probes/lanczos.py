"""Spectral density by stochastic Lanczos quadrature (Golub and Welsch 1969; Ghorbani 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble_mtl.probes.operator import Operator

BREAKDOWN = 10.0
"""A residual below this many roundings of ‖A‖ means that the Krylov space is exhausted."""


@dataclass(frozen=True)
class Tridiagonal:
    """Lanczos decomposition of M operators from one start vector each.

    Attributes:
        alpha: ``[M, K]`` diagonal, float64.
        beta: ``[M, K - 1]`` off-diagonal, float64.
        steps: ``[M]`` steps before the Krylov space was exhausted, at most K.
        orthogonality: ``[M]`` max |QᵀQ − I| over the basis.
    """

    alpha: Tensor
    beta: Tensor
    steps: Tensor
    orthogonality: Tensor


@dataclass(frozen=True)
class Density:
    """Weighted points that integrate smooth functions over the spectrum: (1/P) tr f(A) ≈ Σ w f(θ).

    Attributes:
        nodes: ``[M, S, K]`` Ritz values of each start vector; NaN after an early end.
        weights: ``[M, S, K]``, summing to 1 over K; 0 after an early end.
        orthogonality: ``[M]`` worst over start vectors.
    """

    nodes: Tensor
    weights: Tensor
    orthogonality: Tensor


def density(operator: Operator, num_steps: int, num_starts: int, generator: torch.Generator) -> Density:
    """Quadrature for the spectral density, from ``num_starts`` Gaussian start vectors."""
    num_members, size = operator.shape
    nodes, weights, worst = [], [], torch.zeros(num_members, dtype=torch.float64, device=operator.device)
    for _ in range(num_starts):
        start = torch.randn(1, size, generator=generator, dtype=torch.float64)
        found = tridiagonalize(operator, start.to(operator.device).expand(num_members, size), num_steps)
        theta, weight = quadrature(found)
        nodes.append(theta)
        weights.append(weight)
        worst = torch.maximum(worst, found.orthogonality)
    return Density(torch.stack(nodes, dim=1), torch.stack(weights, dim=1), worst)


def tridiagonalize(operator: Operator, start: Tensor, num_steps: int) -> Tridiagonal:
    """Lanczos with full re-orthogonalisation, twice per step.

    One pass leaves the basis of a trained network's Hessian visibly non-orthogonal in
    float32; two passes reach rounding, and no ghost copies of outliers appear.

    Args:
        operator: M matrices of size P.
        start: ``[M, P]`` start vectors.
        num_steps: K; cut to P.
    """
    num_members, size = operator.shape
    num_steps = min(num_steps, size)
    basis = torch.zeros(num_members, num_steps, size, dtype=operator.dtype, device=operator.device)
    alpha = torch.zeros(num_members, num_steps, dtype=torch.float64, device=operator.device)
    beta = torch.zeros(num_members, max(num_steps - 1, 0), dtype=torch.float64, device=operator.device)
    steps = torch.full((num_members,), num_steps, device=operator.device)
    q = (start / start.norm(dim=1, keepdim=True)).to(operator.dtype)
    for k in range(num_steps):
        basis[:, k] = q
        w = operator.matvec(q)
        alpha[:, k] = (q.double() * w.double()).sum(1)
        if k == num_steps - 1:
            break
        for _ in range(2):
            w = w - _project(basis[:, : k + 1], w)
        norm = w.double().norm(dim=1)
        scale = alpha[:, : k + 1].abs().amax(1) + beta[:, :k].abs().sum(1) / max(k, 1)
        ended = norm <= BREAKDOWN * torch.finfo(operator.dtype).eps * scale.clamp(min=1e-300)
        steps = torch.where(ended & (steps == num_steps), k + 1, steps)
        beta[:, k] = torch.where(steps <= k + 1, 0.0, norm)
        q = torch.where((steps <= k + 1)[:, None], 0.0, w / norm.clamp(min=1e-300)[:, None]).to(operator.dtype)
    gram = (basis @ basis.mT).double()
    alive = torch.arange(num_steps, device=operator.device) < steps[:, None]
    identity = torch.diag_embed(alive.double())
    return Tridiagonal(alpha, beta, steps, (gram - identity).abs().amax((1, 2)))


def _project(basis: Tensor, w: Tensor) -> Tensor:
    """``Q Qᵀ w`` for ``basis [M, K, P]`` (rows of Qᵀ) and ``w [M, P]``."""
    # Two columns, one empty: a product with a single one is rounded otherwise for one
    # member than for several.
    columns = torch.nn.functional.pad(w[..., None], (0, 1))
    return (basis.mT @ (basis @ columns))[..., 0]


def quadrature(decomposition: Tridiagonal) -> tuple[Tensor, Tensor]:
    """Nodes and weights ``[M, K]``: Ritz values and squared first components of their vectors.

    Both are NaN for an operator whose products are not finite.
    """
    alpha, beta = decomposition.alpha, decomposition.beta
    matrix = torch.diag_embed(alpha) + torch.diag_embed(beta, 1) + torch.diag_embed(beta, -1)
    nodes = torch.full_like(alpha, float("nan"))
    weights = torch.zeros_like(alpha)
    for m, steps in enumerate(decomposition.steps.tolist()):
        if not matrix[m].isfinite().all():
            weights[m] = float("nan")
            continue
        values, vectors = torch.linalg.eigh(matrix[m, :steps, :steps])
        nodes[m, :steps], weights[m, :steps] = values, vectors[0].square()
    return nodes, weights
