"""Matched members of a multi-task and a single-task ensemble, and the design that they make."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.study.plan import Subset

Key = tuple[int, int]
"""(split, seed) of a member."""
Errors = Mapping[Key, float]
"""Test error of one task by (split, seed) of the member."""
Name = tuple[Subset, str]
"""A cell: a subset and one of its tasks. With several tasks it names the comparison with that task alone."""
Design = Literal["across splits", "fixed splits", "crossed"]
"""What varies independently: splits; seeds within a few fixed splits; or splits and seeds that are common to them."""
Scope = Literal["this split", "these splits", "other random splits", "this initialisation"]
"""What an interval holds for; "this initialisation" means other random splits with the initial values of one seed."""

MIN_SPLITS = 5
"""Number of splits from which they are taken as a sample of all random splits of the data."""


@dataclass(frozen=True)
class Pairs:
    """Log ratios of matched members.

    Attributes:
        log_ratios: ``log e_multi − log e_single`` by (split, seed), in ascending order of the keys.
        dropped: keys without a pair: a member is missing, or its error is not a positive number.
        arithmetic: mean multi-task error over mean single-task error of the same members, minus 1; None without pairs.
    """

    log_ratios: dict[Key, float]
    dropped: tuple[Key, ...]
    arithmetic: float | None

    @property
    def splits(self) -> tuple[int, ...]:
        """Splits with at least one pair, ascending."""
        return tuple(sorted({split for split, _ in self.log_ratios}))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds with at least one pair, ascending."""
        return tuple(sorted({seed for _, seed in self.log_ratios}))


def paired(multi: Errors, single: Errors, planned: Collection[Key] = ()) -> Pairs:
    """Match the members of both ensembles that have the same split and seed.

    Args:
        multi: error of the task in the multi-task members.
        single: the same of the single-task members.
        planned: keys of the plan, so that members that never came are counted as well.
    """
    keys = sorted(set(multi) | set(single) | set(planned))
    usable = [key for key in keys if _is_error(multi.get(key)) and _is_error(single.get(key))]
    ratios = {key: math.log(multi[key]) - math.log(single[key]) for key in usable}
    arithmetic = None
    if usable:
        arithmetic = math.fsum(multi[key] for key in usable) / math.fsum(single[key] for key in usable) - 1
    return Pairs(ratios, tuple(key for key in keys if key not in ratios), arithmetic)


def _is_error(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def design_of(keys: Collection[Key], shared_initial_values: bool = False) -> Design:
    """The design that (split, seed) keys make.

    Args:
        keys: members that have a pair.
        shared_initial_values: whether a seed gives the same initial values on every split. Splits and seeds are
            then crossed where several seeds were trained on several splits.
    """
    seeds_of_splits = Counter(split for split, _ in keys)
    splits_of_seeds = Counter(seed for _, seed in keys)
    several_seeds, several_splits = (
        max(counts.values(), default=0) > 1 for counts in (seeds_of_splits, splits_of_seeds)
    )
    if shared_initial_values and several_seeds and several_splits:
        return "crossed"
    return "across splits" if len(seeds_of_splits) >= MIN_SPLITS else "fixed splits"


def scope_of(keys: Collection[Key], shared_initial_values: bool = False) -> Scope:
    """What intervals from members with these (split, seed) keys hold for (see :func:`design_of`)."""
    splits, seeds = {split for split, _ in keys}, {seed for _, seed in keys}
    if design_of(keys, shared_initial_values) == "fixed splits":
        return "these splits" if len(splits) > 1 else "this split"
    return "this initialisation" if len(seeds) == 1 else "other random splits"


@dataclass(frozen=True)
class Grid:
    """Log ratios as an array, with the key of every place.

    Attributes:
        values: ``[S, n]``; NaN where a split has fewer pairs than the others.
        keys: ``S`` rows of the keys that stand in ``values``, in order.
        unused: pairs that a crossed design leaves out, because their seed is not on every split.
    """

    values: FloatArray
    keys: tuple[tuple[Key, ...], ...]
    unused: tuple[Key, ...] = ()


def grid(log_ratios: Mapping[Key, float], design: Design) -> Grid:
    """Arrange log ratios by split; in a crossed design the columns are the seeds that every split has."""
    splits = sorted({split for split, _ in log_ratios})
    rows = [tuple(sorted(key for key in log_ratios if key[0] == split)) for split in splits]
    unused: tuple[Key, ...] = ()
    if design == "crossed":
        common = set.intersection(*({seed for _, seed in row} for row in rows))
        unused = tuple(key for row in rows for key in row if key[1] not in common)
        rows = [tuple(key for key in row if key[1] in common) for row in rows]
    values = np.full((len(rows), max((len(row) for row in rows), default=0)), np.nan)
    for place, row in zip(values, rows, strict=True):
        place[: len(row)] = [log_ratios[key] for key in row]
    return Grid(values, tuple(rows), unused)
