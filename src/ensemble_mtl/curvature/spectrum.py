"""What the probes found of one task, and of pairs of tasks."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from ensemble_mtl.curvature.lanczos import Density
from ensemble_mtl.curvature.leading import Leading, ends, leading
from ensemble_mtl.curvature.operator import HessianOperator
from ensemble_mtl.curvature.pairs import cosine, distance_errors, outlier_distance, overlap, spectral_distances
from ensemble_mtl.curvature.trace.base import Control

Pairs = dict[str, dict[str, dict[str, float]]]
"""Task -> partner -> measure -> value."""


@dataclass(frozen=True)
class Spectrum:
    """One task's spectrum; the Lanczos basis and the operator's kept graph, the largest parts, are let go.

    Attributes:
        loss: ``[M]``.
        gradient: ``[M, P]``.
        nodes: ``[M, S, K]``, see :class:`ensemble_mtl.curvature.lanczos.Density`; on the CPU.
        weights: ``[M, S, K]``.
        orthogonality: ``[M]``.
        norm: ``[M]`` ‖H‖_F.
        norm_sem: ``[M]`` its standard error.
        norm_runs: ``[M, S]`` as each run has it.
        num_products: Hessian-vector products, per member.
        leading: eigenpairs.
        ends: ``[M, 2]`` smallest and largest Ritz value of the first run, and their residuals ``[M, 2]``.
        control: for the trace.
        seconds: spent on all of this.
    """

    loss: Tensor
    gradient: Tensor
    nodes: Tensor
    weights: Tensor
    orthogonality: Tensor
    norm: Tensor
    norm_sem: Tensor
    norm_runs: Tensor
    num_products: int
    leading: Leading
    ends: tuple[Tensor, Tensor]
    control: Control
    seconds: float

    @classmethod
    def of(
        cls, operator: HessianOperator, density: Density, num_leading: int, control: Control, started: float
    ) -> Spectrum:
        """From its estimates; ``started`` is the clock when work on the task began."""
        found = leading(density.first, num_leading)
        norm, sem, runs = density.frobenius()
        nodes, weights = density.nodes.cpu(), density.weights.cpu()
        seconds = time.perf_counter() - started
        return cls(
            operator.loss, operator.gradient, nodes, weights, density.orthogonality, norm, sem, runs,
            density.num_products, found, ends(density.first), control, seconds,
        )  # fmt: skip

    def values(self, member: int) -> dict[str, Any]:
        """The fields of a member's result."""
        nodes = self.nodes[member]
        found = self.leading.values[member].isfinite()
        smallest, largest = nodes.nan_to_num(nan=math.inf).min(), nodes.nan_to_num(nan=-math.inf).max()
        # another run may have come nearer to the end than the first, whose residual it is
        errors = (self.ends[0][member].cpu() - torch.stack([smallest, largest])).abs() + self.ends[1][member].cpu()
        return {
            "loss": float(self.loss[member]),
            "eig_min": float(smallest),
            "eig_max": float(largest),
            "eig_min_error": float(errors[0]),
            "eig_max_error": float(errors[1]),
            "orthogonality": float(self.orthogonality[member]),
            "frobenius": float(self.norm[member]),
            "frobenius_sem": float(self.norm_sem[member]),
            "frobenius_runs": self.norm_runs[member].tolist(),
            "eigenvalues": self.leading.values[member][found].tolist(),
            "residuals": self.leading.residuals[member][found].tolist(),
            "nodes": nodes.numpy(),
            "weights": self.weights[member].numpy(),
        }


def pairs(spectra: Mapping[str, Spectrum]) -> list[Pairs]:
    """For each member: how much each two of its tasks are alike, under both of their names."""
    num_members = len(next(iter(spectra.values())).nodes)
    found: list[Pairs] = [{task: {} for task in spectra} for _ in range(num_members)]
    for (first, one), (second, other) in combinations(spectra.items(), 2):
        cosines = cosine(one.gradient, other.gradient)
        overlaps = overlap(one.leading.vectors, other.leading.vectors)
        for m in range(num_members):
            densities = [(which.nodes[m].numpy(), which.weights[m].numpy()) for which in (one, other)]
            distances = {**spectral_distances(*densities), **distance_errors(*densities)}
            outliers = outlier_distance(one.leading.values[m].cpu().numpy(), other.leading.values[m].cpu().numpy())
            distances["outlier_wasserstein"] = outliers
            alike = {"gradient_cosine": float(cosines[m]), "eigenvector_overlap": float(overlaps[m]), **distances}
            found[m][first][second], found[m][second][first] = dict(alike), dict(alike)
    return found
