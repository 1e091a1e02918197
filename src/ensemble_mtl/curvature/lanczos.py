"""Spectral density by stochastic Lanczos quadrature (Golub and Welsch 1969; Ghorbani 2019).

K steps of Lanczos from a start vector q₁ make an orthonormal basis Q = (q₁ … q_K) of the Krylov space of A, in which A
is a tridiagonal matrix T with the diagonal α and the off-diagonal β:

    A q_k = β_{k−1} q_{k−1} + α_k q_k + β_k q_{k+1},    in short    AQ = QT + β_K q_{K+1} e_Kᵀ

The eigenvalues θ of T (Ritz values) and the squares w of the first components of its eigenvectors are the nodes and
weights of a Gauss quadrature: Σ w f(θ) = q₁ᵀ f(A) q₁ for every polynomial f up to the degree 2K − 1. For a random start
vector this has the expectation tr f(A) / P, which is the integral of f over the spectral density.
"""

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
        orthogonality: ``[M]`` largest entry of |QᵀQ − I|.
        basis: ``[M, K, P]`` rows of Qᵀ; rows of 0 after the Krylov space was exhausted.
        coupling: ``[M]`` β, by which A leads out of the Krylov space; 0 where that is exhausted.
        next_vector: ``[M, P]`` q, which would be the next vector of the basis.
    """

    alpha: Tensor
    beta: Tensor
    steps: Tensor
    orthogonality: Tensor
    basis: Tensor
    coupling: Tensor
    next_vector: Tensor

    @property
    def matrix(self) -> Tensor:
        """``[M, K, K]`` T."""
        return torch.diag_embed(self.alpha) + torch.diag_embed(self.beta, 1) + torch.diag_embed(self.beta, -1)


@dataclass(frozen=True)
class Density:
    """Weighted points that integrate smooth functions over the spectrum: (1/P) tr f(A) ≈ Σ w f(θ).

    Attributes:
        nodes: ``[M, S, K]`` Ritz values θ from each of S start vectors; NaN after the Krylov space was exhausted.
        weights: ``[M, S, K]`` w, with the sum 1 over K; 0 after the Krylov space was exhausted.
        orthogonality: ``[M]`` largest entry of |QᵀQ − I| over all start vectors.
        first: decomposition from the first start vector.
        missing_norm_square: ``[M]`` the part of ‖A‖_F² that P Σ w θ² does not contain.
        num_products: number of products with each member's A that were needed.
    """

    nodes: Tensor
    weights: Tensor
    orthogonality: Tensor
    first: Tridiagonal
    missing_norm_square: Tensor
    num_products: int

    def frobenius(self) -> tuple[Tensor, Tensor, Tensor]:
        """‖A‖_F ``[M]``, its standard error ``[M]``, and the estimate of each run alone ``[M, S]``.

        The square of each run's estimate has the expectation ‖A‖_F², so it is the squares that are averaged. Nothing
        is known of the spread of a single run: its standard error is infinite.
        """
        size, runs = self.first.basis.shape[2], self.nodes.shape[1]
        second_moment = (self.weights * self.nodes.nan_to_num(nan=0.0).square()).sum(2)
        squares = size * second_moment + self.missing_norm_square[:, None]
        mean = squares.mean(1)
        if runs < 2:
            return mean.sqrt(), torch.full_like(mean, float("inf")), squares.sqrt()
        variance = (squares - mean[:, None]).square().sum(1) / (runs - 1)
        # The error of a square root, to first order: d√x = dx / (2 √x).
        return mean.sqrt(), (variance / runs).sqrt() / (2 * mean.sqrt()).clamp(min=TINY), squares.sqrt()


def density(operator: Operator, num_steps: int, num_starts: int, generator: torch.Generator) -> Density:
    """Quadrature for the spectral density, from ``num_starts`` Gaussian start vectors."""
    first = tridiagonalize(operator, gaussian_start(operator, generator), num_steps)
    runs = [(*quadrature(first), first.orthogonality)]
    runs += [run_quadrature(operator, generator, num_steps) for _ in range(num_starts - 1)]
    nodes, weights, orthogonality = (torch.stack(values, dim=1) for values in zip(*runs, strict=True))
    return Density(
        nodes, weights, orthogonality.amax(1), first, torch.zeros_like(first.coupling), num_starts * nodes.shape[2]
    )


def run_quadrature(
    operator: Operator, generator: torch.Generator, num_steps: int, excluded: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes and weights ``[M, K]`` and orthogonality ``[M]`` of a Lanczos run from one Gaussian start vector.

    The basis of the run is not kept. See :func:`tridiagonalize` for ``excluded``.
    """
    decomposition = tridiagonalize(operator, gaussian_start(operator, generator), num_steps, excluded)
    return (*quadrature(decomposition), decomposition.orthogonality)


def gaussian_start(operator: Operator, generator: torch.Generator) -> Tensor:
    """``[M, P]`` a start vector, the same for every member, so that their estimates are paired."""
    num_members, size = operator.shape
    start = torch.randn(1, size, generator=generator, dtype=torch.float64)
    return start.to(operator.device).expand(num_members, size)


def tridiagonalize(operator: Operator, start: Tensor, num_steps: int, excluded: Tensor | None = None) -> Tridiagonal:
    """Lanczos with full re-orthogonalisation, twice per step.

    One pass of re-orthogonalisation leaves the basis of a trained network's Hessian visibly non-orthogonal in float32;
    two passes reach rounding, and no ghost copies of outliers appear.

    Args:
        operator: M matrices of size P.
        start: ``[M, P]`` start vectors.
        num_steps: K; cut to P.
        excluded: ``[M, C, P]`` orthonormal rows (or zeros). The operator is compressed to the complement of their span.
    """
    num_members, size = operator.shape
    num_steps = min(num_steps, size)
    excluded = start.new_zeros(num_members, 0, size, dtype=operator.dtype) if excluded is None else excluded
    basis = torch.zeros(num_members, num_steps, size, dtype=operator.dtype, device=operator.device)
    alpha = torch.zeros(num_members, num_steps, dtype=torch.float64, device=operator.device)
    beta = torch.zeros_like(alpha)
    exhausted = torch.zeros(num_members, dtype=torch.bool, device=operator.device)
    steps = torch.full((num_members,), num_steps, device=operator.device)
    q = _unit(_without_spans([excluded], (start / start.norm(dim=1, keepdim=True)).to(operator.dtype)))
    del start  # as much memory as two vectors of float32
    for k in range(num_steps):
        basis[:, k] = q
        w = operator.matvec(q)
        alpha[:, k] = (q.double() * w.double()).sum(1)  # α_k = q_kᵀ A q_k
        # A q_k − α_k q_k − β_{k−1} q_{k−1}, which is β_k q_{k+1}, and at once orthogonal to all earlier vectors
        w = _without_spans([excluded, basis[:, : k + 1]], w)
        norm = w.double().norm(dim=1)
        # An estimate of ‖A‖: nothing but rounding is left of w where the Krylov space is exhausted.
        scale = alpha[:, : k + 1].abs().amax(1) + beta[:, :k].abs().sum(1) / max(k, 1)
        ends_here = norm <= BREAKDOWN * torch.finfo(operator.dtype).eps * scale.clamp(min=TINY)
        steps = torch.where(ends_here & ~exhausted, k + 1, steps)
        exhausted = exhausted | ends_here
        beta[:, k] = torch.where(exhausted, 0.0, norm)
        q = torch.where(exhausted[:, None], 0.0, w / norm.clamp(min=TINY)[:, None]).to(operator.dtype)
    orthogonality = _orthogonality(basis, steps, excluded)
    return Tridiagonal(alpha, beta[:, :-1], steps, orthogonality, basis, beta[:, -1], q)


def _orthogonality(basis: Tensor, steps: Tensor, excluded: Tensor) -> Tensor:
    """``[M]`` largest entry of |QᵀQ − I| and of |QᵀV|, with V the excluded vectors."""
    present = torch.arange(basis.shape[1], device=basis.device) < steps[:, None]
    deviations = [product(basis, basis.mT).double() - torch.diag_embed(present.double())]
    deviations += [product(basis, excluded.mT).double()] if excluded.shape[1] else []
    return torch.cat(deviations, dim=2).abs().amax((1, 2))


def _without_spans(bases: Sequence[Tensor], w: Tensor) -> Tensor:
    """``w [M, P]`` minus its projections VᵀV w onto the rows V of each of the ``bases [M, K, P]``, done twice."""
    for _ in range(2):
        for rows in bases:
            if rows.shape[1]:
                w = w - with_vector(rows.mT, with_vector(rows, w))
    return w


def _unit(w: Tensor) -> Tensor:
    """``w [M, P]`` scaled to length 1; a zero vector stays what it is."""
    return (w / w.double().norm(dim=1, keepdim=True).clamp(min=TINY)).to(w.dtype)


def ritz_pairs(decomposition: Tridiagonal) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``[M, K]`` of T, ascending, and its eigenvectors ``[M, K, K]`` by column.

    After the Krylov space was exhausted, values are NaN and vectors 0. Both are NaN where T is not finite.
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
    """Nodes and weights ``[M, K]``: Ritz values, and the squared first components of their vectors.

    Both are NaN for an operator whose products are not finite.
    """
    nodes, vectors = ritz_pairs(decomposition)
    return nodes, vectors[:, 0].square()
