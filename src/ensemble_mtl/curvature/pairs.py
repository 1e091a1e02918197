"""Measures of how similar the curvatures and the gradients of two tasks are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ensemble_mtl.core.runtime.rounding import product

FloatArray = NDArray[np.float64]


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """``[M]`` cosines of the angles between gradients ``[M, P]``; NaN where one of the two is zero."""
    a, b = first.double(), second.double()
    return (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """``[M]`` ‖V₁ V₂ᵀ‖_F² / C of the rows V of eigenvectors: 1 for equal spans, and about C / P for random ones.

    If one task has fewer rows than the other, only so many rows of each are compared; the overlap is NaN for none.

    Args:
        first: ``[M, C, P]`` orthonormal rows of one task in order of importance, followed by rows of zeros.
        second: ``[M, C, P]`` those of the other task.
    """
    in_both = first.any(2) & second.any(2)
    count = in_both.sum(1)
    squares = product(first, second.mT).double().square()
    return (squares * in_both[:, :, None] * in_both[:, None, :]).flatten(1).sum(1) / count


def wasserstein(first: FloatArray, first_weights: FloatArray, second: FloatArray, second_weights: FloatArray) -> float:
    """Wasserstein-1 distance ∫|F − G| of two weighted sets of points, with their distribution functions F and G.

    Args:
        first: ``[n]`` points, none of them NaN.
        first_weights: ``[n]`` their weights, with the sum 1.
        second: ``[m]`` points, none of them NaN.
        second_weights: ``[m]`` their weights, with the sum 1.

    Returns:
        the distance, in the unit of the points.
    """
    # F − G is a step function that jumps by the weight at each point.
    points = np.concatenate([first, second])
    steps = np.concatenate([first_weights, -second_weights])
    order = np.argsort(points, kind="stable")
    return float(np.abs(np.cumsum(steps[order])[:-1]) @ np.diff(points[order]))


def outlier_distance(first: FloatArray, second: FloatArray) -> float:
    """Wasserstein-1 distance of two spectra's outliers, in units of the eigenvalues; NaN where one has none.

    If one task has fewer eigenvalues than the other, only so many of each are compared.

    Args:
        first: ``[C]`` leading eigenvalues of one task in order of magnitude, followed by NaN.
        second: ``[C]`` those of the other task.
    """
    count = min(np.isfinite(first).sum(), np.isfinite(second).sum())
    return float(np.abs(np.sort(first[:count]) - np.sort(second[:count])).mean()) if count else float("nan")


def spectral_distances(first: tuple[FloatArray, FloatArray], second: tuple[FloatArray, FloatArray]) -> dict[str, float]:
    """Wasserstein-1 distances between two spectra, which are the nodes and weights ``[S, K]`` of their quadratures.

    Returns:
        ``wasserstein``: between the spectra, in units of the eigenvalues. At large P it is ruled by how the nodes
        resolve λ ≈ 0. ``energy_wasserstein``: between the shapes of the spectra, with weights ∝ w λ² and with λ in
        units of the largest |λ| of its spectrum, so that the bulk at zero has no part in it. NaN where a spectrum is
        not finite, or zero altogether.
    """
    plain, energy = [], []
    for nodes, weights in (first, second):
        present = np.isfinite(nodes) & (weights > 0)
        values, mass = nodes[present], weights[present] / len(nodes)
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

    In the deflated density all runs share the Ritz values of the first run, whose error is not included.
    Source: Efron and Stein 1981, doi:10.1214/aos/1176345462.

    Args:
        first: nodes and weights ``[S, K]`` of the S runs of one spectrum.
        second: nodes and weights ``[S, K]`` of the S runs of the other.
    """
    runs = len(first[0])
    all_but_one = [np.arange(runs) != run for run in range(runs)]
    parts = [[(nodes[mask], weights[mask]) for nodes, weights in (first, second)] for mask in all_but_one]
    distances = [spectral_distances(*part) for part in parts] if runs > 1 else []
    errors = {}
    for name in ("wasserstein", "energy_wasserstein"):
        values = np.array([distance[name] for distance in distances])
        # Variance by the jackknife: (S − 1)/S Σ (d_s − mean)², where d_s leaves run s out.
        errors[f"{name}_sem"] = float(np.sqrt((runs - 1) * values.var())) if runs > 1 else float("nan")
    return errors
