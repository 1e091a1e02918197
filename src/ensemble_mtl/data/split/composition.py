"""A split in which each chemical composition is split on its own (Lupo Pasini 2022, §3)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.composition import compositions
from ensemble_mtl.data.graph import FloatArray, IntArray
from ensemble_mtl.data.split import dealing
from ensemble_mtl.data.split.base import Split, SplitOptions


class Options(SplitOptions):
    """Shares and groups."""

    name: Literal["composition"] = "composition"


def split(store: GraphStore, options: Options, seed: int) -> Split:
    """Parts with nearly the same shares of every composition.

    A composition with a single configuration, or a single group, goes to train. All others
    are divided in shares that make up for this, and what rounding takes of one of them the
    next one gives back, so that the shares of the whole hold.

    Raises:
        DataError: a part would be empty, or graphs cannot be grouped as asked.
    """
    stream = dealing.random_stream(seed)
    return dealing.assemble(parts(store, options, stream), options, stream)


def parts(store: GraphStore, options: Options, stream: np.random.Generator) -> IntArray:
    """``[G]`` part (0 train, 1 val, 2 test) of each graph; val and test may be empty."""
    groups = dealing.group_of(store, options)
    members = compositions(store).members()
    divided = [own for own in members if len(np.unique(groups[own])) > 1]
    num_alone = len(store) - sum(map(len, divided))
    dealer = dealing.Dealer(_shares_of_others(options.fractions, len(store), num_alone), stream)
    part = np.full(len(store), dealing.TRAIN, dtype=np.int64)
    for own in divided:
        part[own] = dealer.deal(groups[own])
    return part


def _shares_of_others(fractions: tuple[float, float, float], num: int, num_alone: int) -> FloatArray:
    """Shares of those graphs that are divided, so that ``fractions`` hold with the ``num_alone`` in train."""
    wanted = num * np.array(fractions)
    wanted[dealing.TRAIN] = max(0.0, wanted[dealing.TRAIN] - num_alone)
    shares: FloatArray = wanted / wanted.sum()
    return shares
