"""Continuous densities from weighted eigenvalues (New 2022, section 2.1; Ghorbani et al. 2019, arXiv:1901.10159)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def smoothed(nodes: FloatArray, weights: FloatArray, grid: FloatArray, width: float) -> FloatArray:
    """Density at ``grid [n]`` under a Gaussian kernel, averaged over the runs.

    Args:
        nodes: ``[S, K]`` or ``[K]`` eigenvalues of each run; entries of NaN are left out.
        weights: weights of the nodes, of the same shape; those of one run have the sum 1.
        grid: ``[n]`` points, in the unit of the eigenvalues.
        width: standard deviation of the kernel, in the same unit.
    """
    nodes, weights = np.atleast_2d(nodes), np.atleast_2d(weights)
    present = np.isfinite(nodes) & (weights > 0)
    kernel = np.exp(-0.5 * ((grid[:, None] - nodes[present]) / width) ** 2) / (width * np.sqrt(2 * np.pi))
    density: FloatArray = kernel @ weights[present] / len(nodes)
    return density
