"""How unlike the curvatures of two tasks are, and whether that tells who gains: pure functions, JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ensemble_mtl.analysis import rank_correlation, statistics
from ensemble_mtl.analysis.aggregates import Groups, Row, labelled
from ensemble_mtl.study.results import ProbeResult

PROBED = ("gradient_cosine", "energy_wasserstein", "wasserstein", "outlier_wasserstein", "eigenvector_overlap")
"""Measures that a probe result holds (:mod:`ensemble_mtl.curvature.pairs`)."""
MEASURES = (*PROBED, "trace_ratio", "trace_difference")

MISMATCH = {
    "gradient_cosine": "1 − gradient cosine", "energy_wasserstein": "energy-weighted Wasserstein-1",
    "wasserstein": "Wasserstein-1", "eigenvector_overlap": "1 − eigenvector overlap",
    "trace_difference": "difference of traces",
}  # fmt: skip
"""What is taken for mismatch; a measure that is 1 for equal tasks is turned around."""
_ALIKE = ("gradient_cosine", "eigenvector_overlap")


def pairs(groups: Groups, *, ends: bool) -> list[Row]:
    """One row per (subset, fraction, pair of its tasks, epoch): every measure's spread over members.

    A measure is ``{"mean", "std", "members"}`` (std with ddof 1), over the members that have it:
    ``trace_ratio`` (first over second, with its sign) is left out where 0 lies in the 95 % interval of the second
    trace. ``trace_difference`` is |t₁ − t₂| / (|t₁| + |t₂|), between 0 and 1, and 1 where
    the signs differ.

    Args:
        groups: results by subset and fraction.
        ends: as for :func:`ensemble_mtl.analysis.aggregates.curvature`.
    """
    rows = []
    for (subset, fraction), members in groups.items():
        for first, second in combinations(subset, 2):
            by_epoch: dict[int | str, list[tuple[ProbeResult, ProbeResult]]] = {}
            for _, result in members:
                others = dict(labelled(result, second, ends=ends))
                for epoch, probe in labelled(result, first, ends=ends):
                    if epoch in others:
                        by_epoch.setdefault(epoch, []).append((probe, others[epoch]))
            for epoch in sorted(by_epoch, key=lambda value: (value == "end", value if value != "end" else 0)):
                found = by_epoch[epoch]
                values = [_measures(one, other) for one, other in found]
                rows.append({
                    "subset": list(subset), "fraction": fraction, "tasks": [first, second], "epoch": epoch,
                    "epoch_mean": float(np.mean([one.epoch for one, _ in found])), "members": len(found),
                    **{name: _spread([value[name] for value in values]) for name in MEASURES},
                })  # fmt: skip
    return rows


def mismatch(gains: Sequence[Row], found: Sequence[Row], fraction: float) -> list[Row]:
    """Does mismatch tell who gains? One row per (measure, epoch), Holm-corrected over all of them.

    A point is a task in a multi-task subset: its gain is the fall of its error against alone, in per cent; its
    mismatch is the mean over its partners, and over members. Points share tasks and single-task
    members, so that an interval that takes them for independent is too narrow rather than too wide.

    Args:
        gains: rows of :func:`ensemble_mtl.analysis.aggregates.gains`.
        found: rows of :func:`pairs`.
        fraction: the training fraction that is looked at.
    """
    gained = [row for row in gains if row["fraction"] == fraction and row["percent"] is not None]
    here = [row for row in found if row["fraction"] == fraction]
    rows, correlations = [], []
    for epoch in dict.fromkeys(row["epoch"] for row in here):
        for measure in MISMATCH:
            points = [
                {"subset": row["subset"], "task": row["task"], "gain_percent": -row["percent"], "mismatch": value}
                for row in gained
                if (value := _with_partners(here, row, epoch, measure)) is not None
            ]
            columns = (np.array([p[name] for p in points], dtype=np.float64) for name in ("mismatch", "gain_percent"))
            rows.append({"measure": measure, "epoch": epoch, "fraction": fraction, "values": points})
            correlations.append(rank_correlation.spearman(*columns))
    judged = rank_correlation.holm_corrected(correlations)
    return [{**row, **one.to_json()} for row, one in zip(rows, judged, strict=True)]


def _measures(one: ProbeResult, other: ProbeResult) -> dict[str, float]:
    known = one.pairs.get(other.task, {})
    a, b = one.trace, other.trace
    return {
        **{name: known.get(name, float("nan")) for name in PROBED},
        "trace_ratio": a / b if _told_from_0(other) else float("nan"),
        "trace_difference": abs(a - b) / (abs(a) + abs(b)) if a or b else float("nan"),
    }


def _told_from_0(probe: ProbeResult) -> bool:
    """Whether 0 lies outside the trace's 95 % interval."""
    errors = statistics.t_quantile(probe.trace_degrees) if probe.trace_degrees else 2.0
    return abs(probe.trace) > errors * probe.trace_sem


def _spread(values: list[float]) -> dict[str, Any]:
    spread = statistics.spread([value for value in values if np.isfinite(value)])
    return {"mean": spread.mean, "std": spread.std, "members": spread.members}


def _with_partners(found: Sequence[Row], gain: Row, epoch: int | str, measure: str) -> float | None:
    """Mean mismatch of a task with its partners; None unless it is known of each."""
    means = [
        row[measure]["mean"]
        for row in found
        if row["subset"] == gain["subset"] and row["epoch"] == epoch and gain["task"] in row["tasks"]
    ]
    if not means or None in means:
        return None
    value = float(np.mean(means))
    return 1 - value if measure in _ALIKE else value
