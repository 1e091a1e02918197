"""In-degrees of the training graphs, which degree scalers refer to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.graph import IntArray


@dataclass(frozen=True)
class DegreeStatistics:
    """Histogram of in-degrees over nodes.

    Attributes:
        histogram: entry d counts the nodes with d incoming edges.
    """

    histogram: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Mean degree."""
        return sum(d * count for d, count in enumerate(self.histogram)) / sum(self.histogram)

    @property
    def mean_log(self) -> float:
        """Mean of log(degree + 1)."""
        return sum(math.log(d + 1) * count for d, count in enumerate(self.histogram)) / sum(self.histogram)


def of(store: GraphStore, graphs: IntArray) -> DegreeStatistics:
    """Degrees of all nodes of ``graphs`` (indices into the store)."""
    topologies = store.topologies
    uses = np.bincount(store.topology[graphs], minlength=len(topologies))
    first_node = np.repeat(topologies.node_ptr[:-1], np.diff(topologies.edge_ptr))
    degree = np.bincount(topologies.edge_index[1] + first_node, minlength=topologies.node_ptr[-1])
    uses_of_node = np.repeat(uses, np.diff(topologies.node_ptr))
    used = uses_of_node > 0
    histogram = np.bincount(degree[used], weights=uses_of_node[used], minlength=1)
    return DegreeStatistics(tuple(int(count) for count in histogram))
