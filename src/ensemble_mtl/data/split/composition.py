"""A split that divides the graphs of each chemical composition by themselves (Lupo Pasini 2022, §3)."""

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
    """Return parts that contain nearly the same shares of every composition.

    A composition with a single configuration, or a single group, goes to train. All others
    are divided in shares that make up for this. What rounding takes from a part in one
    composition is given back in the next, so that the parts of all graphs have the wanted shares.

    Args:
        store: the data set.
        options: shares and groups.
        seed: determines the split; any integer.

    Raises:
        DataError: a part would be empty, or graphs cannot be grouped as asked.
    """
    stream = dealing.random_stream(seed)
    return dealing.assemble(parts(store, options, stream), options, stream)


def parts(store: GraphStore, options: Options, stream: np.random.Generator) -> IntArray:
    """Return the part ``[G]`` of each graph (0 train, 1 val, 2 test); val and test may be empty.

    Args:
        store: the data set.
        options: shares and groups.
        stream: source of the random numbers.
    """
    groups = dealing.group_of(store, options)
    divisible = [graphs for graphs in compositions(store).members() if len(np.unique(groups[graphs])) > 1]
    num_indivisible = len(store) - sum(map(len, divisible))
    dealer = dealing.Dealer(_divisible_shares(options.fractions, len(store), num_indivisible), stream)
    part = np.full(len(store), dealing.TRAIN, dtype=np.int64)
    for graphs in divisible:
        part[graphs] = dealer.deal(groups[graphs])
    return part


def _divisible_shares(fractions: tuple[float, float, float], num_graphs: int, num_indivisible: int) -> FloatArray:
    """Return the shares of the parts in the compositions that are divided, which make up for those that are not.

    Args:
        fractions: shares of the parts in all graphs.
        num_graphs: number of all graphs.
        num_indivisible: number of graphs in compositions that go to train as a whole.
    """
    sizes = num_graphs * np.array(fractions)
    sizes[dealing.TRAIN] = max(0.0, sizes[dealing.TRAIN] - num_indivisible)
    shares: FloatArray = sizes / sizes.sum()
    return shares
