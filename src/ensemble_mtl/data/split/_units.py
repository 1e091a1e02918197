"""Drawing parts out of units: single graphs, or groups that must stay together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ensemble_mtl.data import symmetry
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.split.base import PARTS, Split, SplitOptions
from ensemble_mtl.errors import DataError
from ensemble_mtl.graph import IntArray


def random_stream(seed: int) -> np.random.Generator:
    """The stream of a split's seed; its own, whatever else is drawn with that seed."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([abs(seed), int(seed < 0), *b"split"])))


def group_of(store: GraphStore, options: SplitOptions) -> IntArray:
    """``[G]`` number of the group of each graph; groups are numbered by first appearance."""
    if options.group == "none":
        return np.arange(len(store), dtype=np.int64)
    keys = symmetry.arrangement_keys(store) if options.group == "arrangement" else symmetry.symmetry_keys(store)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def part_of_graphs(groups: IntArray, fractions: Sequence[float], stream: np.random.Generator) -> IntArray:
    """``[n]`` part (0 train, 1 val, 2 test) of each graph; groups stay whole.

    Parts get the nearest whole numbers of graphs by largest remainder. Groups are taken in
    random order, each by the part that still lacks most; a lone group goes to train.
    """
    units, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = stream.permutation(len(units))
    part = np.zeros(len(units), dtype=np.int64)
    quota = quotas(len(groups), fractions)
    if len(units) == 1:
        return part[inverse]
    if len(units) == len(groups):
        part[order] = np.repeat(np.arange(len(quota)), quota)
        return part[inverse]
    lacking = quota.astype(np.float64)
    # large groups first, so that small ones can even out what they leave
    for unit in order[np.argsort(-sizes[order], kind="stable")]:
        part[unit] = int(np.argmax(lacking))
        lacking[part[unit]] -= sizes[unit]
    return part[inverse]


def quotas(num: int, fractions: Sequence[float]) -> IntArray:
    """Whole numbers nearest to ``num * fractions`` that sum to ``num``: largest remainder.

    Equal remainders go to the earlier part, train first.
    """
    exact = num * np.asarray(fractions, dtype=np.float64)
    quota = np.floor(exact + 1e-9).astype(np.int64)
    remainder = np.round(exact - quota, 9)
    quota[np.argsort(-remainder, kind="stable")[: num - int(quota.sum())]] += 1
    return quota


def assemble(part: IntArray, options: SplitOptions, stream: np.random.Generator) -> Split:
    """The split in which graph g is in part ``part[g]``.

    Raises:
        DataError: a part is empty.
    """
    members = [np.flatnonzero(part == k) for k in range(len(PARTS))]
    for name, indices in zip(PARTS, members, strict=True):
        if not len(indices):
            raise DataError(
                f"split {options.name}: the {name} part is empty, with {len(part)} graphs and the shares "
                f"{options.fractions} grouped by {options.group}; expected at least one graph; "
                "use more graphs, a larger share, smaller groups, or 'split: random'"
            )
    train, val, test = members
    return Split(stream.permutation(train), val, test)
