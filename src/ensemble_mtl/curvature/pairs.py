"""How much the curvatures and gradients of two tasks are alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ensemble_mtl.core.runtime.rounding import product

FloatArray = NDArray[np.float64]


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """``[M]`` cosines between gradients ``[M, P]``; NaN where one is zero."""
    a, b = first.double(), second.double()
    return (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """``[M]`` ‖V₁ᵀV₂‖_F² / C: 1 for equal spans of eigenvectors, C / P for random ones.

    Args:
        first: ``[M, C, P]`` orthonormal rows in order of importance, then zeros. If one task has
            fewer of them than the other, that many of each are compared; NaN for none.
        second: likewise.
    """
    alive = first.any(2) & second.any(2)
    common = alive.sum(1)
    square = product(first, second.mT).double().square()
    return (square * alive[:, :, None] * alive[:, None, :]).flatten(1).sum(1) / common


def wasserstein(first: FloatArray, first_weights: FloatArray, second: FloatArray, second_weights: FloatArray) -> float:
    """Wasserstein-1 distance ∫|F − G| of two weighted sets of points, each of total weight 1.

    Args:
        first: ``[n]`` points, not NaN.
        first_weights: ``[n]``.
        second: ``[m]`` points.
        second_weights: ``[m]``.
    """
    points = np.concatenate([first, second])
    steps = np.concatenate([first_weights, -second_weights])
    order = np.argsort(points, kind="stable")
    return float(np.abs(np.cumsum(steps[order])[:-1]) @ np.diff(points[order]))


def outlier_distance(first: FloatArray, second: FloatArray) -> float:
    """Wasserstein-1 distance of two spectra's outliers, in units of the eigenvalues; NaN where one has none.

    Args:
        first: leading eigenvalues in order of magnitude, padded with NaN. If one task has fewer of them than
            the other, that many of each are compared.
        second: likewise.
    """
    common = min(np.isfinite(first).sum(), np.isfinite(second).sum())
    return float(np.abs(np.sort(first[:common]) - np.sort(second[:common])).mean()) if common else float("nan")


def spectral_distances(first: tuple[FloatArray, FloatArray], second: tuple[FloatArray, FloatArray]) -> dict[str, float]:
    """Distances between two spectra, given as nodes and weights ``[S, K]`` of their quadratures.

    Returns:
        ``wasserstein``: in units of the eigenvalues. At large P it is ruled by how the nodes
        resolve λ ≈ 0. ``energy_wasserstein``: between the shapes, with weights ∝ w λ² and each
        spectrum over its own largest |λ|; the bulk at zero has no part in it. NaN where a
        spectrum is not finite, or zero altogether.
    """
    plain, energy = [], []
    for nodes, weights in (first, second):
        known = np.isfinite(nodes) & (weights > 0)
        values, mass = nodes[known], weights[known] / len(nodes)
        scale = np.abs(values).max(initial=0.0)
        if not np.isfinite(weights).all() or not len(values):
            return {"wasserstein": float("nan"), "energy_wasserstein": float("nan")}
        plain += [values, mass]
        relative = values / scale if scale else np.full_like(values, np.nan)
        power = mass * relative**2
        energy += [relative, power / power.sum()]
    return {"wasserstein": wasserstein(*plain), "energy_wasserstein": wasserstein(*energy)}


def distance_errors(first: tuple[FloatArray, FloatArray], second: tuple[FloatArray, FloatArray]) -> dict[str, float]:
    """Standard errors of :func:`spectral_distances` over Lanczos runs, by the jackknife; NaN for a single run.

    Of the deflated density it is the error for the first run as it is, which all rows share.
    Source: Efron and Stein 1981, doi:10.1214/aos/1176345462.

    Args:
        first: nodes and weights ``[S, K]`` of S runs.
        second: likewise, of as many.
    """
    runs = len(first[0])
    without = [np.arange(runs) != run for run in range(runs)]
    parts = [[(nodes[kept], weights[kept]) for nodes, weights in (first, second)] for kept in without]
    found = [spectral_distances(*part) for part in parts] if runs > 1 else []
    errors = {}
    for name in ("wasserstein", "energy_wasserstein"):
        values = np.array([one[name] for one in found])
        errors[f"{name}_sem"] = float(np.sqrt((runs - 1) * values.var())) if runs > 1 else float("nan")
    return errors
