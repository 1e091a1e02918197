"""Traces and extreme Ritz values of the tasks' Hessians, over members."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ensemble_mtl.analysis import statistics
from ensemble_mtl.analysis.groups import Groups
from ensemble_mtl.analysis.snapshots import in_order, labelled
from ensemble_mtl.analysis.summary_rows import CurvatureRow, Epoch
from ensemble_mtl.study.plan import Subset
from ensemble_mtl.study.results import ProbeResult


def curvature_rows(groups: Groups, *, ends: bool) -> tuple[CurvatureRow, ...]:
    """One row per (subset, fraction, task, epoch).

    Args:
        groups: results by subset and fraction.
        ends: whether each member was probed at its own last epoch. Last epochs differ where members stop early; their
            probes are brought together under the epoch ``"end"``.
    """
    rows = []
    for (subset, fraction), pairs in groups.items():
        for task in subset:
            by_epoch: dict[Epoch, list[ProbeResult]] = {}
            for _, result in pairs:
                for epoch, probe in labelled(result, task, ends=ends):
                    by_epoch.setdefault(epoch, []).append(probe)
            rows += [_row(subset, fraction, task, epoch, by_epoch[epoch]) for epoch in in_order(by_epoch)]
    return tuple(rows)


def _row(subset: Subset, fraction: float, task: str, epoch: Epoch, probes: Sequence[ProbeResult]) -> CurvatureRow:
    """The row of one task at one epoch, over the members' ``probes`` of it."""
    traces = statistics.spread([probe.trace for probe in probes])
    return CurvatureRow(
        subset=subset,
        fraction=fraction,
        task=task,
        epoch=epoch,
        epoch_mean=float(np.mean([probe.epoch for probe in probes])),
        trace_mean=traces.mean,
        trace_std=traces.std,
        trace_sem_mean=float(np.mean([probe.trace_sem for probe in probes])),
        eig_min_mean=float(np.mean([probe.eig_min for probe in probes])),
        eig_max_mean=float(np.mean([probe.eig_max for probe in probes])),
        members=len(probes),
        num_parameters=probes[0].num_parameters,
        num_graphs=probes[0].num_graphs,
    )
