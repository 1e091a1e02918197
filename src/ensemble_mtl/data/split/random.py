"""A split of all graphs at random."""

from __future__ import annotations

from typing import Literal

from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.split import _units
from ensemble_mtl.data.split.base import Split, SplitOptions


class Options(SplitOptions):
    """Shares and groups."""

    name: Literal["random"] = "random"


def split(store: GraphStore, options: Options, seed: int) -> Split:
    """Parts drawn at random from all graphs, whatever their composition.

    Raises:
        DataError: a part would be empty, or graphs cannot be grouped as asked.
    """
    stream = _units.random_stream(seed)
    groups = _units.group_of(store, options)
    return _units.assemble(_units.Dealer(options.fractions, stream).deal(groups), options, stream)
