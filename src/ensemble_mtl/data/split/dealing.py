"""Dealing units to the parts: single graphs, or groups that must stay together."""

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
"""Shares that agree to so many decimals are a tie; what differs beyond is rounding."""


def random_stream(seed: int) -> np.random.Generator:
    """The stream of a split's seed; its own, whatever else is drawn with that seed."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([abs(seed), int(seed < 0), *b"split"])))


def group_of(store: GraphStore, options: SplitOptions) -> IntArray:
    """``[G]`` number of the group of each graph; groups are numbered by first look."""
    if options.group == "none":
        return np.arange(len(store), dtype=np.int64)
    keys = symmetry.arrangement_keys(store) if options.group == "arrangement" else symmetry.symmetry_keys(store)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


class Dealer:
    """Deals one set of graphs after the other to the parts.

    Whole graphs, or groups, cannot meet the shares exactly. What a part got too little or too
    much of one set is made up for in the next, so that all sets together meet the shares to
    within one graph or the largest group, however small the sets are.
    """

    def __init__(self, shares: Sequence[float] | FloatArray, stream: np.random.Generator) -> None:
        """A dealer who owes nothing yet.

        Args:
            shares: of the parts; they sum to 1.
            stream: decides which unit goes where.
        """
        self._shares = np.asarray(shares, dtype=np.float64)
        self._stream = stream
        # its own stream: whether a tie occurs must not change what else is drawn
        self._ties = stream.spawn(1)[0]
        self._owed = np.zeros(len(PARTS))

    def deal(self, groups: IntArray) -> IntArray:
        """``[n]`` part (0 train, 1 val, 2 test) of each graph of a set.

        Each part gets its share of graphs rounded down or up, where every graph is a group of
        its own. Otherwise groups stay whole, and are taken large ones first, so that small ones
        can even out what those leave. A lone group goes to train, and so does at least one of three
        or more.

        Args:
            groups: ``[n]`` number of each graph's group.
        """
        units, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
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
        """``num`` times the shares, each rounded down or up, so that they sum to ``num``.

        Those are rounded up that then are owed most; the stream decides between equals.
        """
        exact = num * self._shares
        quota = np.floor(exact + 0.5 * 10.0**-_DECIMALS).astype(np.int64)
        due = np.where(exact - quota > 10.0**-_DECIMALS, self._owed + exact - quota, -np.inf)
        quota[self._most_due_first(due)[: num - int(quota.sum())]] += 1
        return quota

    def _deal_groups(self, order: IntArray, sizes: IntArray) -> IntArray:
        part = np.empty(len(sizes), dtype=np.int64)
        due = self._owed + sizes.sum() * self._shares
        for unit in order:
            part[unit] = self._most_due_first(due)[0]
            due[part[unit]] -= sizes[unit]
        return part

    def _most_due_first(self, due: FloatArray) -> IntArray:
        order: IntArray = np.lexsort((self._ties.random(len(due)), -np.round(due, _DECIMALS)))
        return order


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
