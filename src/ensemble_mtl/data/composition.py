"""Chemical compositions: how many atoms of each element every graph has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ensemble_mtl.core.elements import SYMBOLS
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.graph import IntArray


@dataclass(frozen=True)
class Compositions:
    """The C distinct compositions of the G graphs of a store.

    Attributes:
        elements: ``[E]`` proton numbers, ascending.
        counts: ``[C, E]`` number of atoms of each element in each composition, rows ascending.
        index: ``[G]`` composition of each graph, as a row of ``counts``.
    """

    elements: IntArray
    counts: IntArray
    index: IntArray

    def __len__(self) -> int:
        return len(self.counts)

    def formula(self, k: int) -> str:
        """Return the formula of composition ``k``, such as ``Fe16Pt16``."""
        pairs = zip(self.elements, self.counts[k], strict=True)
        return "".join(f"{SYMBOLS[z - 1]}{count}" for z, count in pairs if count)

    def members(self) -> list[IntArray]:
        """Return, for each composition, the indices of its graphs, ascending."""
        order = np.argsort(self.index, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.index))[:-1])


def compositions(store: GraphStore) -> Compositions:
    """Return the compositions of all graphs of ``store``."""
    elements, column = np.unique(store.atomic_numbers, return_inverse=True)
    graph = np.repeat(np.arange(len(store)), np.diff(store.node_ptr))
    num_elements = len(elements)
    counts = np.bincount(graph * num_elements + column, minlength=len(store) * num_elements)
    counts = counts.reshape(len(store), num_elements)
    distinct, index = np.unique(counts, axis=0, return_inverse=True)
    return Compositions(elements.astype(np.int64), distinct, index.reshape(-1))
