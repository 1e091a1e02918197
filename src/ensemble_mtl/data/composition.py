"""How many atoms of each element every graph has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ensemble_mtl.core.elements import SYMBOLS
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.graph import IntArray


@dataclass(frozen=True)
class Compositions:
    """The distinct compositions of a store.

    Attributes:
        elements: ``[E]`` proton numbers, ascending.
        counts: ``[C, E]`` atoms of each element in each distinct composition, ascending.
        index: ``[G]`` composition of each graph.
    """

    elements: IntArray
    counts: IntArray
    index: IntArray

    def __len__(self) -> int:
        return len(self.counts)

    def formula(self, k: int) -> str:
        """``Fe16Pt16``."""
        pairs = zip(self.elements, self.counts[k], strict=True)
        return "".join(f"{SYMBOLS[z - 1]}{count}" for z, count in pairs if count)

    def members(self) -> list[IntArray]:
        """Graphs of each composition, ascending."""
        order = np.argsort(self.index, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.index))[:-1])


def compositions(store: GraphStore) -> Compositions:
    """The compositions of all graphs."""
    elements, column = np.unique(store.atomic_numbers, return_inverse=True)
    graph = np.repeat(np.arange(len(store)), np.diff(store.node_ptr))
    num = len(elements)
    counts = np.bincount(graph * num + column, minlength=len(store) * num).reshape(len(store), num)
    distinct, index = np.unique(counts, axis=0, return_inverse=True)
    return Compositions(elements.astype(np.int64), distinct, index.reshape(-1))
