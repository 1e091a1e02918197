"""A split in which each chemical composition is split on its own (Lupo Pasini 2022, §3)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.composition import compositions
from ensemble_mtl.data.split import _units
from ensemble_mtl.data.split.base import Split, SplitOptions


class Options(SplitOptions):
    """Shares and groups."""

    name: Literal["composition"] = "composition"


def split(store: GraphStore, options: Options, seed: int) -> Split:
    """Parts with nearly the same shares of every composition.

    A composition with a single configuration, or a single group, goes to train.

    Raises:
        DataError: a part would be empty, or graphs cannot be grouped as asked.
    """
    stream = _units.random_stream(seed)
    groups = _units.group_of(store, options)
    part = np.zeros(len(store), dtype=np.int64)
    for members in compositions(store).members():
        part[members] = _units.part_of_graphs(groups[members], options.fractions, stream)
    return _units.assemble(part, options, stream)
