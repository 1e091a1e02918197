"""How similar or different the losses of two tasks are, by gradients, spectra, eigenvectors and traces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ensemble_mtl.analysis import statistics
from ensemble_mtl.analysis.groups import Groups
from ensemble_mtl.analysis.snapshots import in_order, labelled
from ensemble_mtl.analysis.statistics import MeanAndDeviation
from ensemble_mtl.analysis.summary_rows import CurvaturePair, Epoch, PairMeasure
from ensemble_mtl.study.plan import Subset
from ensemble_mtl.study.results import ProbeResult

PROBED: tuple[PairMeasure, ...] = (
    "gradient_cosine", "energy_wasserstein", "wasserstein", "outlier_wasserstein", "eigenvector_overlap",
)  # fmt: skip
"""Measures that a probe result holds (:mod:`ensemble_mtl.curvature.pairs`)."""
MEASURES: tuple[PairMeasure, ...] = (*PROBED, "trace_ratio", "trace_difference")

Probes = tuple[ProbeResult, ProbeResult]
"""One member's probes of the first and of the second task, at one epoch."""


def pair_rows(groups: Groups, *, ends: bool) -> tuple[CurvaturePair, ...]:
    """One row per (subset, fraction, pair of its tasks, epoch), every measure over the members that have it.

    Args:
        groups: results by subset and fraction.
        ends: whether each member was probed at its own last epoch (see
            :func:`ensemble_mtl.analysis.curvature.curvature_rows`).
    """
    rows = []
    for (subset, fraction), members in groups.items():
        for first, second in combinations(subset, 2):
            by_epoch: dict[Epoch, list[Probes]] = {}
            for _, result in members:
                partners = dict(labelled(result, second, ends=ends))
                for epoch, probe in labelled(result, first, ends=ends):
                    if epoch in partners:
                        by_epoch.setdefault(epoch, []).append((probe, partners[epoch]))
            rows += [_row(subset, fraction, (first, second), epoch, by_epoch[epoch]) for epoch in in_order(by_epoch)]
    return tuple(rows)


def _row(
    subset: Subset, fraction: float, tasks: tuple[str, str], epoch: Epoch, probes: Sequence[Probes]
) -> CurvaturePair:
    """The row of two tasks at one epoch, over the members' ``probes`` of both."""
    values = [_measures(first, second) for first, second in probes]
    return CurvaturePair(
        subset=subset,
        fraction=fraction,
        tasks=tasks,
        epoch=epoch,
        epoch_mean=float(np.mean([first.epoch for first, _ in probes])),
        members=len(probes),
        **{name: _mean([value[name] for value in values]) for name in MEASURES},
    )


def _measures(first: ProbeResult, second: ProbeResult) -> dict[PairMeasure, float]:
    """Every measure of one member; NaN where it is undefined or was not measured."""
    probed = first.pairs.get(second.task, {})
    a, b = first.trace, second.trace
    return {
        **{name: probed.get(name, float("nan")) for name in PROBED},
        "trace_ratio": a / b if _differs_from_0(second) else float("nan"),
        "trace_difference": abs(a - b) / (abs(a) + abs(b)) if a or b else float("nan"),
    }


def _differs_from_0(probe: ProbeResult) -> bool:
    """Whether 0 lies outside the trace's 95 % interval."""
    half_width = statistics.t_quantile(probe.trace_degrees) if probe.trace_degrees else 2.0  # in standard errors
    return abs(probe.trace) > half_width * probe.trace_sem


def _mean(values: Sequence[float]) -> MeanAndDeviation:
    """Mean and deviation of the finite ``values``."""
    spread = statistics.spread([value for value in values if np.isfinite(value)])
    return MeanAndDeviation(mean=spread.mean, std=spread.std, members=spread.members)
