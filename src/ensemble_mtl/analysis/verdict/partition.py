"""Partitions of the tasks into blocks that are learned together, and their losses on the units of a study."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from ensemble_mtl.analysis.verdict.best import Losses
from ensemble_mtl.analysis.verdict.pairs import Errors, Key, Name, design_of, grid
from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.study.plan import Subset

Partition = tuple[Subset, ...]


def partitions(tasks: Sequence[str], subsets: Collection[Subset]) -> Iterator[Partition]:
    """Every way to cover the tasks by disjoint subsets of the plan, blocks in the order of their first task.

    Args:
        tasks: all tasks, in the configuration's order.
        subsets: what is trained; all subsets of T tasks form as many partitions as Bell's number of T.
    """
    if not tasks:
        yield ()
        return
    for subset in subsets:
        if tasks[0] in subset and set(subset) <= set(tasks):
            rest = [task for task in tasks if task not in subset]
            for further in partitions(rest, subsets):
                yield (subset, *further)


def cells_of(candidates: Collection[Partition]) -> list[Name]:
    """Subset and task of every cell that the partitions use, in a fixed order."""
    return sorted({(block, task) for blocks in candidates for block in blocks for task in block})


def partition_losses(
    log_errors: FloatArray, names: Sequence[Name], candidates: Sequence[Partition], weights: Mapping[str, float]
) -> FloatArray:
    """Losses ``L = Σ_t w_t log e[block that holds t, t]`` of partitions.

    Args:
        log_errors: ``[..., C]`` of the cells.
        names: subset and task of each cell.
        candidates: P partitions.
        weights: of the tasks; they sum to 1.

    Returns:
        ``[..., P]``.
    """
    place = {name: index for index, name in enumerate(names)}
    matrix = np.zeros((len(names), len(candidates)))
    for column, blocks in enumerate(candidates):
        for block in blocks:
            for task in block:
                matrix[place[block, task], column] = weights[task]
    losses: FloatArray = log_errors @ matrix
    return losses


def complete_keys(errors: Collection[Errors]) -> tuple[Key, ...]:
    """Keys (split, seed) at which every cell has a positive error, ascending."""
    usable = ({key for key, error in cell.items() if math.isfinite(error) and error > 0} for cell in errors)
    return tuple(sorted(set.intersection(*usable))) if errors else ()


def losses_on_units(
    errors: Mapping[Name, Errors],
    candidates: Sequence[Partition],
    weights: Mapping[str, float],
    shared_initial_values: bool = False,
) -> Losses:
    """Losses of partitions on the units that have every cell.

    Units are those of the comparisons: means of splits if there are five or more, else members within the splits, and
    splits and seeds where they are crossed.

    Args:
        errors: of every cell (subset, task), by (split, seed).
        candidates: P partitions whose cells are all in ``errors``.
        weights: of the tasks; they sum to 1.
        shared_initial_values: whether a seed gives the same initial values on every split.
    """
    names = cells_of(candidates)
    keys = complete_keys([errors[name] for name in names])
    design = design_of(keys, shared_initial_values)
    rows = grid(dict.fromkeys(keys, 0.0), design).keys
    tables = []
    for row in rows:
        cells = [[math.log(errors[name][key]) for name in names] for key in row]
        tables.append(partition_losses(np.array(cells).reshape(len(row), len(names)), names, candidates, weights))
    if design == "fixed splits":
        return Losses(tuple(tables) or (np.zeros((0, len(candidates))),), design)
    if design == "crossed":
        return Losses((np.stack(tables),), design)
    return Losses((np.stack([table.mean(0) for table in tables]),), design)
