"""A split of all graphs at random."""

from __future__ import annotations

from typing import Literal

from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.split import dealing
from ensemble_mtl.data.split.base import Split, SplitOptions


class Options(SplitOptions):
    """Shares and groups."""

    name: Literal["random"] = "random"


def split(store: GraphStore, options: Options, seed: int) -> Split:
    """Return parts that are drawn at random from all graphs, whatever their composition.

    Args:
        store: the data set.
        options: shares and groups.
        seed: determines the split; any integer.

    Raises:
        DataError: a part would be empty, or graphs cannot be grouped as asked.
    """
    stream = dealing.random_stream(seed)
    groups = dealing.group_of(store, options)
    return dealing.assemble(dealing.Dealer(options.fractions, stream).deal(groups), options, stream)
