"""Spectral density by stochastic Lanczos quadrature (Golub and Welsch 1969; Ghorbani 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble_mtl.core.runtime.rounding import product, with_vector
from ensemble_mtl.curvature.operator import Operator

BREAKDOWN = 10.0
"""A residual below this many roundings of ‖A‖ means that the Krylov space is exhausted."""

TINY = 1e-300
"""Keeps a division by the norm of a zero vector finite."""


@dataclass(frozen=True)
class Tridiagonal:
    """Lanczos decomposition ``AQ = QT + β q eᵀ`` of M operators from one start vector each.

    Attributes:
        alpha: ``[M, K]`` diagonal of T, float64.
        beta: ``[M, K - 1]`` off-diagonal of T, float64.
        steps: ``[M]`` steps before the Krylov space was exhausted, at most K.
        orthogonality: ``[M]`` max |QᵀQ − I| over the basis.
        basis: ``[M, K, P]`` rows of Qᵀ; 0 after an early end.
        coupling: ``[M]`` β, by which A leads out of the Krylov space; 0 where that is exhausted.
        following: ``[M, P]`` q, the next vector of the basis.
    """

    alpha: Tensor
    beta: Tensor
    steps: Tensor
    orthogonality: Tensor
    basis: Tensor
    coupling: Tensor
    following: Tensor

    @property
    def matrix(self) -> Tensor:
        """``[M, K, K]`` T."""
        return torch.diag_embed(self.alpha) + torch.diag_embed(self.beta, 1) + torch.diag_embed(self.beta, -1)


@dataclass(frozen=True)
class Density:
    """Weighted points that integrate smooth functions over the spectrum: (1/P) tr f(A) ≈ Σ w f(θ).

    Attributes:
        nodes: ``[M, S, K]`` Ritz values of each start vector; NaN after an early end.
        weights: ``[M, S, K]``, summing to 1 over K; 0 after an early end.
        orthogonality: ``[M]`` worst over start vectors.
        first: decomposition from the first start vector.
        left_out: ``[M]`` the part of ‖A‖_F² that P Σ w θ² does not contain.
        num_products: spent, per member.
    """

    nodes: Tensor
    weights: Tensor
    orthogonality: Tensor
    first: Tridiagonal
    left_out: Tensor
    num_products: int

    def frobenius(self) -> tuple[Tensor, Tensor, Tensor]:
        """‖A‖_F ``[M]``, its standard error ``[M]``, and what each run says of it ``[M, S]``.

        Each run's square has the expectation ‖A‖_F², so it is squares that are averaged. A
        single run tells nothing of its spread: its error is infinite.
        """
        size, runs = self.first.basis.shape[2], self.nodes.shape[1]
        moment = (self.weights * self.nodes.nan_to_num(nan=0.0).square()).sum(2)
        squares = size * moment + self.left_out[:, None]
        mean = squares.mean(1)
        if runs < 2:
            return mean.sqrt(), torch.full_like(mean, float("inf")), squares.sqrt()
        variance = (squares - mean[:, None]).square().sum(1) / (runs - 1)
        return mean.sqrt(), (variance / runs).sqrt() / (2 * mean.sqrt()).clamp(min=TINY), squares.sqrt()


def density(operator: Operator, num_steps: int, num_starts: int, generator: torch.Generator) -> Density:
    """Quadrature for the spectral density, from ``num_starts`` Gaussian start vectors."""
    first = tridiagonalize(operator, gaussian(operator, generator), num_steps)
    found = [(*quadrature(first), first.orthogonality)]
    found += [run(operator, generator, num_steps) for _ in range(num_starts - 1)]
    nodes, weights, orthogonality = (torch.stack(values, dim=1) for values in zip(*found, strict=True))
    return Density(
        nodes, weights, orthogonality.amax(1), first, torch.zeros_like(first.coupling), num_starts * nodes.shape[2]
    )


def run(
    operator: Operator, generator: torch.Generator, num_steps: int, beside: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes and weights ``[M, K]`` and orthogonality ``[M]`` from one Gaussian start; its basis is let go."""
    found = tridiagonalize(operator, gaussian(operator, generator), num_steps, beside)
    return (*quadrature(found), found.orthogonality)


def gaussian(operator: Operator, generator: torch.Generator) -> Tensor:
    """``[M, P]`` a start vector, the same for every member, so that their estimates are paired."""
    num_members, size = operator.shape
    start = torch.randn(1, size, generator=generator, dtype=torch.float64)
    return start.to(operator.device).expand(num_members, size)


def tridiagonalize(operator: Operator, start: Tensor, num_steps: int, beside: Tensor | None = None) -> Tridiagonal:
    """Lanczos with full re-orthogonalisation, twice per step.

    One pass leaves the basis of a trained network's Hessian visibly non-orthogonal in
    float32; two passes reach rounding, and no ghost copies of outliers appear.

    Args:
        operator: M matrices of size P.
        start: ``[M, P]`` start vectors.
        num_steps: K; cut to P.
        beside: ``[M, C, P]`` orthonormal rows (or zeros); the operator is then compressed to
            the complement of what they span.
    """
    num_members, size = operator.shape
    num_steps = min(num_steps, size)
    others = start.new_zeros(num_members, 0, size, dtype=operator.dtype) if beside is None else beside
    rows = torch.zeros(num_members, num_steps, size, dtype=operator.dtype, device=operator.device)
    alpha = torch.zeros(num_members, num_steps, dtype=torch.float64, device=operator.device)
    beta = torch.zeros_like(alpha)
    over = torch.zeros(num_members, dtype=torch.bool, device=operator.device)
    steps = torch.full((num_members,), num_steps, device=operator.device)
    q = _unit(_cleared([others], (start / start.norm(dim=1, keepdim=True)).to(operator.dtype)))
    del start  # as much memory as two vectors of float32
    for k in range(num_steps):
        rows[:, k] = q
        w = operator.matvec(q)
        alpha[:, k] = (q.double() * w.double()).sum(1)
        w = _cleared([others, rows[:, : k + 1]], w)
        norm = w.double().norm(dim=1)
        scale = alpha[:, : k + 1].abs().amax(1) + beta[:, :k].abs().sum(1) / max(k, 1)
        ended = norm <= BREAKDOWN * torch.finfo(operator.dtype).eps * scale.clamp(min=TINY)
        steps = torch.where(ended & ~over, k + 1, steps)
        over = over | ended
        beta[:, k] = torch.where(over, 0.0, norm)
        q = torch.where(over[:, None], 0.0, w / norm.clamp(min=TINY)[:, None]).to(operator.dtype)
    alive = torch.arange(num_steps, device=operator.device) < steps[:, None]
    off = [product(rows, rows.mT).double() - torch.diag_embed(alive.double())]
    off += [product(rows, others.mT).double()] if others.shape[1] else []
    worst = torch.cat(off, dim=2).abs().amax((1, 2))
    return Tridiagonal(alpha, beta[:, :-1], steps, worst, rows, beta[:, -1], q)


def _cleared(bases: Sequence[Tensor], w: Tensor) -> Tensor:
    """``w [M, P]`` without its part in the span of the rows of each of the ``bases [M, K, P]``."""
    for _ in range(2):
        for rows in bases:
            if rows.shape[1]:
                w = w - with_vector(rows.mT, with_vector(rows, w))
    return w


def _unit(w: Tensor) -> Tensor:
    return (w / w.double().norm(dim=1, keepdim=True).clamp(min=TINY)).to(w.dtype)


def ritz(decomposition: Tridiagonal) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``[M, K]`` of T, ascending, and its eigenvectors ``[M, K, K]`` by column.

    NaN, with vectors of 0, after an early end; both NaN where T is not finite.
    """
    matrix = decomposition.matrix
    values, vectors = torch.full_like(decomposition.alpha, float("nan")), torch.zeros_like(matrix)
    for m, steps in enumerate(decomposition.steps.tolist()):
        if matrix[m].isfinite().all():
            values[m, :steps], vectors[m, :steps, :steps] = torch.linalg.eigh(matrix[m, :steps, :steps])
        else:
            vectors[m] = float("nan")
    return values, vectors


def quadrature(decomposition: Tridiagonal) -> tuple[Tensor, Tensor]:
    """Nodes and weights ``[M, K]``: Ritz values and squared first components of their vectors.

    Both are NaN for an operator whose products are not finite.
    """
    nodes, vectors = ritz(decomposition)
    return nodes, vectors[:, 0].square()
