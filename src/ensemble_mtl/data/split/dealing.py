"""Dealing units to the parts of a split. A unit is a single graph, or a group of graphs that must stay together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data import symmetry
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.graph import FloatArray, IntArray
from ensemble_mtl.data.split.base import PARTS, Split, SplitOptions

TRAIN = PARTS.index("train")
_DECIMALS = 9
"""Numbers of graphs that agree to so many decimals are a tie; what differs beyond is rounding."""


def random_stream(seed: int) -> np.random.Generator:
    """Return the random numbers of a split's ``seed``, which differ from all others that are drawn with that seed."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([abs(seed), int(seed < 0), *b"split"])))


def group_of(store: GraphStore, options: SplitOptions) -> IntArray:
    """Return the number of the group ``[G]`` of each graph; groups are numbered in the order of their first graphs.

    Raises:
        DataError: graphs cannot be grouped as the options ask, since there is no cell.
    """
    if options.group == "none":
        return np.arange(len(store), dtype=np.int64)
    keys = symmetry.arrangement_keys(store) if options.group == "arrangement" else symmetry.symmetry_keys(store)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


class Dealer:
    """Deals one set of graphs after the other to the parts.

    Whole graphs, or groups, cannot meet the shares exactly. A part that gets too little or too
    much of one set is owed the difference in the next, so that all sets together meet the shares
    to within one graph or the largest group, however small the sets are.
    """

    def __init__(self, shares: Sequence[float] | FloatArray, stream: np.random.Generator) -> None:
        """Make a dealer that owes nothing yet.

        Args:
            shares: ``[3]`` shares of the parts train, val and test; they sum to 1.
            stream: source of the random numbers that decide which unit goes where.
        """
        self._shares = np.asarray(shares, dtype=np.float64)
        self._stream = stream
        # a separate stream, since whether a tie occurs must not change the other random numbers
        self._tie_stream = stream.spawn(1)[0]
        self._owed = np.zeros(len(PARTS))

    def deal(self, groups: IntArray) -> IntArray:
        """Return the part ``[n]`` of each graph of a set (0 train, 1 val, 2 test).

        Where every graph is a group of its own, each part gets its share of graphs rounded down or
        up. Otherwise groups stay whole; large ones are dealt first, so that small ones can even out
        the differences. A single group goes to train, and of three groups or more at least one does.

        Args:
            groups: ``[n]`` number of each graph's group.
        """
        units, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        # at random among groups of one size, since the sort is stable
        order = self._stream.permutation(len(units))
        order = order[np.argsort(-sizes[order], kind="stable")]
        if len(units) == 1:
            part = np.full(1, TRAIN)
        elif len(units) == len(groups):
            part = np.empty(len(units), dtype=np.int64)
            part[order] = np.repeat(np.arange(len(PARTS)), self.quotas(len(groups)))
        else:
            part = self._deal_groups(order, sizes)
        if len(units) >= len(PARTS) and TRAIN not in part:
            part[order[-1]] = TRAIN
        self._owed += len(groups) * self._shares - np.bincount(part, weights=sizes, minlength=len(PARTS))
        return part[inverse]

    def quotas(self, num: int) -> IntArray:
        """Return ``num`` times the shares ``[3]``, each rounded down or up, so that they sum to ``num``.

        Those parts are rounded up to which most is due after rounding down; the stream decides between equal ones.
        """
        exact = num * self._shares
        # a product that should be a whole number may be slightly below it by rounding
        quota = np.floor(exact + 0.5 * 10.0**-_DECIMALS).astype(np.int64)
        # a share that is a whole number is not rounded, however much is due
        due = np.where(exact - quota > 10.0**-_DECIMALS, self._owed + exact - quota, -np.inf)
        quota[self._most_due_first(due)[: num - int(quota.sum())]] += 1
        return quota

    def _deal_groups(self, order: IntArray, sizes: IntArray) -> IntArray:
        """Return the part of each group: one after the other in ``order`` goes to the part to which most is due."""
        part = np.empty(len(sizes), dtype=np.int64)
        due = self._owed + sizes.sum() * self._shares
        for unit in order:
            part[unit] = self._most_due_first(due)[0]
            due[part[unit]] -= sizes[unit]
        return part

    def _most_due_first(self, due: FloatArray) -> IntArray:
        """Return the numbers of the parts in descending order of ``due`` ``[3]``, at random among equal ones."""
        order: IntArray = np.lexsort((self._tie_stream.random(len(due)), -np.round(due, _DECIMALS)))
        return order


def assemble(part: IntArray, options: SplitOptions, stream: np.random.Generator) -> Split:
    """Return the split in which graph g is in part ``part[g]``.

    Args:
        part: ``[G]`` number of each graph's part (0 train, 1 val, 2 test).
        options: options of the split, for the message.
        stream: source of the random numbers that shuffle the training part.

    Raises:
        DataError: a part is empty.
    """
    members = [np.flatnonzero(part == k) for k in range(len(PARTS))]
    for name, indices in zip(PARTS, members, strict=True):
        if not len(indices):
            raise DataError(
                f"split {options.name}: the {name} part is empty, with {len(part)} graphs and the shares "
                f"{options.fractions}, grouped by {options.group}, expected at least one graph; "
                "use more graphs, a larger share, smaller groups, or 'split: random'"
            )
    train, val, test = members
    return Split(stream.permutation(train), val, test)
