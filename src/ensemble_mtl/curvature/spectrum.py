"""Spectra of the tasks' Hessians, and the measures of how similar those of two tasks are."""

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
from ensemble_mtl.curvature.leading import Leading, extreme_ritz_values, leading_pairs
from ensemble_mtl.curvature.operator import HessianOperator
from ensemble_mtl.curvature.pairs import cosine, distance_errors, outlier_distance, overlap, spectral_distances
from ensemble_mtl.curvature.trace.base import ControlVariate

Pairs = dict[str, dict[str, dict[str, float]]]
"""Task -> another task -> name of a measure -> value."""


@dataclass(frozen=True)
class Spectrum:
    """Estimates of one task's Hessian, without what takes much memory: the Lanczos basis and the operator.

    Attributes:
        loss: ``[M]`` the task's loss.
        gradient: ``[M, P]`` the loss's gradient.
        nodes: ``[M, S, K]``, see :class:`ensemble_mtl.curvature.lanczos.Density`; on the CPU.
        weights: ``[M, S, K]`` the weights of the nodes; on the CPU.
        orthogonality: ``[M]`` largest entry of |QᵀQ − I|.
        norm: ``[M]`` ‖H‖_F.
        norm_sem: ``[M]`` standard error of ‖H‖_F.
        norm_runs: ``[M, S]`` ‖H‖_F as each run estimates it.
        num_products: number of Hessian-vector products of each member.
        leading: leading eigenpairs.
        ends: ``[M, 2]`` smallest and largest Ritz value of the first run, and their residuals ``[M, 2]``.
        control: control variate for the trace.
        seconds: wall-clock time of all these estimates.
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
    control: ControlVariate
    seconds: float

    @classmethod
    def of(
        cls, operator: HessianOperator, density: Density, num_leading: int, control: ControlVariate, started: float
    ) -> Spectrum:
        """The spectrum from its density; ``started`` is ``time.perf_counter()`` when work on the task began."""
        eigenpairs = leading_pairs(density.first, num_leading)
        norm, sem, runs = density.frobenius()
        nodes, weights = density.nodes.cpu(), density.weights.cpu()
        seconds = time.perf_counter() - started
        return cls(
            operator.loss, operator.gradient, nodes, weights, density.orthogonality, norm, sem, runs,
            density.num_products, eigenpairs, extreme_ritz_values(density.first), control, seconds,
        )  # fmt: skip

    def values(self, member: int) -> dict[str, Any]:
        """The fields of the result of one member, by their names in :class:`ensemble_mtl.study.results.ProbeResult`."""
        nodes = self.nodes[member]
        converged = self.leading.values[member].isfinite()
        smallest, largest = nodes.nan_to_num(nan=math.inf).min(), nodes.nan_to_num(nan=-math.inf).max()
        # Residuals are those of the first run. Where another run reached a smaller or a larger value, the distance
        # to it is added.
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
            "eigenvalues": self.leading.values[member][converged].tolist(),
            "residuals": self.leading.residuals[member][converged].tolist(),
            "nodes": nodes.numpy(),
            "weights": self.weights[member].numpy(),
        }


def compare_tasks(spectra: Mapping[str, Spectrum]) -> list[Pairs]:
    """For each member, the measures of how similar each two of its tasks are; they stand under both tasks' names."""
    num_members = len(next(iter(spectra.values())).nodes)
    pairs: list[Pairs] = [{task: {} for task in spectra} for _ in range(num_members)]
    for (first_task, first), (second_task, second) in combinations(spectra.items(), 2):
        cosines = cosine(first.gradient, second.gradient)
        overlaps = overlap(first.leading.vectors, second.leading.vectors)
        for m in range(num_members):
            densities = [(spectrum.nodes[m].numpy(), spectrum.weights[m].numpy()) for spectrum in (first, second)]
            distances = {**spectral_distances(*densities), **distance_errors(*densities)}
            outliers = outlier_distance(first.leading.values[m].cpu().numpy(), second.leading.values[m].cpu().numpy())
            distances["outlier_wasserstein"] = outliers
            measures = {"gradient_cosine": float(cosines[m]), "eigenvector_overlap": float(overlaps[m]), **distances}
            pairs[m][first_task][second_task] = dict(measures)
            pairs[m][second_task][first_task] = dict(measures)
    return pairs
