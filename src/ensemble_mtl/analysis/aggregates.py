"""From the results of many members to the rows of the summary: pure functions, JSON values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ensemble_mtl.analysis import statistics
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.study.plan import Member, Subset
from ensemble_mtl.study.results import MemberResult, ProbeResult

METRICS = ("rmse", "mae", "rmse_scaled", "mae_scaled")
COMPARED = "rmse_scaled"
"""What comparisons between subsets are made in; Table 1 of Lupo Pasini 2022 is in this unit."""

_CONSERVED = 1e-3
"""Spread of the sums over graphs, relative to the largest single value, that counts as rounding."""

Pair = tuple[Member, MemberResult]
Row = dict[str, Any]
Groups = dict[tuple[Subset, float], list[Pair]]


def grouped(plan: Sequence[Member], found: Iterable[Pair]) -> Groups:
    """The results by (subset, fraction), in plan order; groups without results are there, empty."""
    groups: Groups = {(member.subset, member.fraction): [] for member in plan}
    for member, result in found:
        groups[member.subset, member.fraction].append((member, result))
    return groups


def cells(groups: Groups, planned: dict[tuple[Subset, float], int], units: dict[str, str]) -> list[Row]:
    """Test errors: one row per (subset, fraction, task, metric)."""
    rows = []
    for (subset, fraction), pairs in groups.items():
        for task in subset:
            for metric in METRICS:
                values = [result.metrics[task]["test"][metric] for _, result in pairs]
                spread = statistics.spread(values)
                row = {
                    "subset": list(subset),
                    "task": task,
                    "metric": metric,
                    "fraction": fraction,
                    "unit": "scaled" if metric.endswith("_scaled") else units[task],
                    **_spread_row(spread),
                    "planned": planned[subset, fraction],
                    "values": values,
                    "ids": [member.id for member, _ in pairs],
                }
                rows.append(row)
    return rows


def wall_clock(groups: Groups) -> list[Row]:
    """Training time per member, by subset and fraction.

    ``std`` is between ``stacks``: members of one stack share its time equally, so that they
    are one measurement, however many they are.
    """
    rows = []
    for (subset, fraction), pairs in groups.items():
        results = [result for _, result in pairs]
        spread = _times(pairs)
        sizes = sorted({result.stack_size for result in results})
        row = {
            "subset": list(subset),
            "fraction": fraction,
            "mean": spread.mean,
            "std": spread.std,
            "members": spread.members,
            "stacks": len(_by_stack(pairs)),
            "unit": "s",
            "epochs_mean": statistics.spread([result.epochs for result in results]).mean,
            "stack_size": max(sizes, default=None),
            "stack_sizes": sizes,
            "device": ", ".join(sorted({result.device for result in results})),
            "num_parameters": max((result.num_parameters["total"] for result in results), default=None),
        }
        rows.append(row)
    return rows


def cost(groups: Groups) -> list[Row]:
    """One multi-task model against the single-task models that it stands for.

    ``ratio`` is the single-task models' time over the multi-task model's, ``std_ratio`` its
    deviation between stacks, None if one of the times has none; ``comparable`` says whether
    all of them were timed on one device, in stacks of one size without heads of other tasks.
    """
    rows = []
    for (subset, fraction), pairs in groups.items():
        alone = [groups.get(((task,), fraction), []) for task in subset]
        if len(subset) == 1 or not pairs or not all(alone):
            continue
        multi = _times(pairs)
        single = [_times(part) for part in alone]
        found = statistics.ratio(single, multi)
        timed = {result.timed_as for part in (pairs, *alone) for _, result in part}
        row = {
            "subset": list(subset),
            "fraction": fraction,
            "single_task_seconds": float(sum(part.mean or 0.0 for part in single)),
            "mtl_seconds": multi.mean,
            "ratio": found[0] if found else None,
            "std_ratio": found[1] if found else None,
            "single_task_parameters": sum(part[0][1].num_parameters["total"] for part in alone),
            "mtl_parameters": pairs[0][1].num_parameters["total"],
            "comparable": len(timed) == 1 and not any(others for *_, others in timed),
        }
        rows.append(row)
    return rows


def gains(groups: Groups, overlap: float) -> list[Row]:
    """Every multi-task subset against each of its tasks alone, Holm-corrected over all of them.

    Args:
        groups: results by subset and fraction.
        overlap: test over training graphs (see :func:`statistics.compare`).
    """
    rows, comparisons = [], []
    for (subset, fraction), pairs in groups.items():
        for task in subset:
            alone = groups.get(((task,), fraction))
            if len(subset) == 1 or alone is None:
                continue
            rows.append({"task": task, "subset": list(subset), "fraction": fraction, "metric": COMPARED})
            # a part of the training graphs makes their number, and so the relative overlap, differ
            share = overlap / fraction
            comparisons.append(statistics.compare(_by_key(pairs, task), _by_key(alone, task), share))
    judged = statistics.holm_corrected(comparisons)
    return [{**row, **comparison.to_json()} for row, comparison in zip(rows, judged, strict=True)]


def curvature(groups: Groups, *, ends: bool) -> list[Row]:
    """Traces and extreme Ritz values: one row per (subset, fraction, task, epoch).

    Args:
        groups: results by subset and fraction.
        ends: whether each member was probed at its own last epoch. Early stopping makes it
            differ between members; they are brought together under the epoch ``"end"``.
    """
    rows = []
    for (subset, fraction), pairs in groups.items():
        for task in subset:
            by_epoch: dict[int | str, list[ProbeResult]] = {}
            for _, result in pairs:
                for epoch, probe in labelled(result, task, ends=ends):
                    by_epoch.setdefault(epoch, []).append(probe)
            # "end" comes last by its mean epoch, which no fixed epoch can exceed for all members
            for epoch in sorted(by_epoch, key=lambda value: (value == "end", value if value != "end" else 0)):
                head = {"subset": list(subset), "fraction": fraction, "task": task, "epoch": epoch}
                rows.append({**head, **_curvature_row(by_epoch[epoch])})
    return rows


def labelled(result: MemberResult, task: str, *, ends: bool) -> list[tuple[int | str, ProbeResult]]:
    """The member's probes of ``task`` by epoch, the last one under ``"end"`` if ``ends``."""
    probes = sorted((probe for probe in result.probes if probe.task == task), key=lambda probe: probe.epoch)
    last = probes[-1].epoch if probes and ends and probes[-1].epoch > 0 else None
    return [("end" if probe.epoch == last else probe.epoch, probe) for probe in probes]


def graph_values(store: GraphStore, target: str, *, total: bool = False) -> FloatArray:
    """``[G]`` one value per graph: graph targets as they are, node targets averaged (or summed)."""
    values = store.targets[target]
    if store.target_info(target).level == "graph":
        return values
    # reduceat wants non-empty graphs, which the store guarantees
    sums: FloatArray = np.add.reduceat(values, store.node_ptr[:-1])
    return sums if total else sums / np.diff(store.node_ptr)


def is_conserved(store: GraphStore, target: str) -> bool:
    """Whether a node target sums to the same in every graph, as charge transfer does.

    What then differs between the sums is rounding, and relates to nothing.
    """
    if store.target_info(target).level == "graph":
        return False
    totals, values = graph_values(store, target, total=True), store.targets[target]
    known = totals[np.isfinite(totals)]
    return bool(len(known) and np.ptp(known) <= _CONSERVED * np.nanmax(np.abs(values)))


def correlations(store: GraphStore, targets: dict[str, str]) -> list[Row]:
    """Pearson correlation of each pair of tasks: per graph, and per node where both are node targets."""
    tasks = list(targets)
    rows = []
    for i, first in enumerate(tasks):
        for second in tasks[i + 1 :]:
            a, b = (graph_values(store, targets[task]) for task in (first, second))
            conserved = any(is_conserved(store, targets[task]) for task in (first, second))
            value = None if conserved else statistics.pearson(a, b)
            rows.append({"tasks": [first, second], "level": "graph", "pearson": value, "conserved": conserved})
            if all(store.target_info(targets[task]).level == "node" for task in (first, second)):
                a, b = store.targets[targets[first]], store.targets[targets[second]]
                rows.append(
                    {"tasks": [first, second], "level": "node", "pearson": statistics.pearson(a, b), "conserved": False}
                )
    return rows


def _times(pairs: list[Pair]) -> statistics.Spread:
    """Mean training time over members, and its deviation between stacks."""
    stacks = statistics.spread([float(np.mean(seconds)) for seconds in _by_stack(pairs)])
    members = statistics.spread([result.train_seconds for _, result in pairs])
    return statistics.Spread(members.mean, stacks.std, None, None, members.members)


def _by_stack(pairs: list[Pair]) -> list[list[float]]:
    """Training times, members of one stack together."""
    stacks: dict[str | float, list[float]] = {}
    for _, result in pairs:
        # without an id: members of one stack that ended in the same epoch read the same clock
        stacks.setdefault(result.stack_id or result.stack_seconds, []).append(result.train_seconds)
    return list(stacks.values())


def _by_key(pairs: list[Pair], task: str) -> dict[statistics.Key, float]:
    return {(member.seed, member.split): result.metrics[task]["test"][COMPARED] for member, result in pairs}


def _spread_row(spread: statistics.Spread) -> Row:
    return {
        "mean": spread.mean,
        "std": spread.std,
        "std_ddof": 1,
        "sem": spread.sem,
        "ci95": None if spread.ci95 is None else list(spread.ci95),
        "members": spread.members,
    }


def _curvature_row(probes: list[ProbeResult]) -> Row:
    traces = statistics.spread([probe.trace for probe in probes])
    return {
        "epoch_mean": float(np.mean([probe.epoch for probe in probes])),
        "trace_mean": traces.mean,
        "trace_std": traces.std,
        "trace_sem": float(np.mean([probe.trace_sem for probe in probes])),
        "eig_min_mean": float(np.mean([probe.eig_min for probe in probes])),
        "eig_max_mean": float(np.mean([probe.eig_max for probe in probes])),
        "members": len(probes),
        "num_parameters": probes[0].num_parameters,
        "num_graphs": probes[0].num_graphs,
    }
