"""Training times of members, and what a multi-task model saves against the single-task models."""

from __future__ import annotations

import numpy as np

from ensemble_mtl.analysis import statistics
from ensemble_mtl.analysis.groups import Groups, Pair
from ensemble_mtl.analysis.statistics import MeanAndDeviation
from ensemble_mtl.analysis.summary_rows import CostRow, WallClockRow


def wall_clock_rows(groups: Groups) -> tuple[WallClockRow, ...]:
    """Training time per member, by subset and fraction.

    The standard deviation is taken between stacks. Members of one stack share its time equally, so that together they
    are a single measurement.
    """
    rows = []
    for (subset, fraction), pairs in groups.items():
        results = [result for _, result in pairs]
        times = _times(pairs)
        row = WallClockRow(
            subset=subset,
            fraction=fraction,
            mean_seconds=times.mean,
            std_seconds=times.std,
            members=times.members,
            stacks=len(_by_stack(pairs)),
            stack_sizes=tuple(sorted({result.stack_size for result in results})),
            epochs_mean=statistics.spread([result.epochs for result in results]).mean,
            devices=tuple(sorted({result.device for result in results})),
            num_parameters=max((result.num_parameters["total"] for result in results), default=None),
        )
        rows.append(row)
    return tuple(rows)


def cost_rows(groups: Groups) -> tuple[CostRow, ...]:
    """The cost of each multi-task model against its single-task models, where all of them have results."""
    rows = []
    for (subset, fraction), pairs in groups.items():
        alone = [groups.get(((task,), fraction), []) for task in subset]
        if len(subset) == 1 or not pairs or not all(alone):
            continue
        multi = _times(pairs)
        single = [_times(part) for part in alone]
        ratio, ratio_std = statistics.ratio(single, multi) or (None, None)
        conditions = {result.timed_as for part in (pairs, *alone) for _, result in part}
        row = CostRow(
            subset=subset,
            fraction=fraction,
            single_task_seconds=float(sum(part.mean or 0.0 for part in single)),
            multi_task_seconds=multi.mean,
            ratio=ratio,
            ratio_std=ratio_std,
            single_task_parameters=sum(part[0][1].num_parameters["total"] for part in alone),
            multi_task_parameters=pairs[0][1].num_parameters["total"],
            same_conditions=len(conditions) == 1 and not any(other_heads for *_, other_heads in conditions),
        )
        rows.append(row)
    return tuple(rows)


def _times(pairs: list[Pair]) -> MeanAndDeviation:
    """Mean training time over members, and its deviation between stacks, in seconds."""
    stacks = statistics.spread([float(np.mean(seconds)) for seconds in _by_stack(pairs)])
    members = statistics.spread([result.train_seconds for _, result in pairs])
    return MeanAndDeviation(mean=members.mean, std=stacks.std, members=members.members)


def _by_stack(pairs: list[Pair]) -> list[list[float]]:
    """Training times of the members in seconds, one list per stack."""
    stacks: dict[str, list[float]] = {}
    for _, result in pairs:
        stacks.setdefault(result.stack_id, []).append(result.train_seconds)
    return list(stacks.values())
