"""Numbers of incoming edges per node in the training graphs, to which degree scalers refer."""

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
        histogram: entry d is the number of nodes with d incoming edges.
    """

    histogram: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Mean degree over all nodes."""
        return sum(d * count for d, count in enumerate(self.histogram)) / sum(self.histogram)

    @property
    def mean_log(self) -> float:
        """Mean of the natural logarithm of degree + 1 over all nodes."""
        return sum(math.log(d + 1) * count for d, count in enumerate(self.histogram)) / sum(self.histogram)


def of(store: GraphStore, graphs: IntArray) -> DegreeStatistics:
    """Return the degree statistics of all nodes of ``graphs``.

    Args:
        store: the data set.
        graphs: indices of graphs in it; a graph that is listed twice counts twice.
    """
    # each topology's degrees are computed once, and weighted by the number of graphs that use it
    topologies = store.topologies
    uses = np.bincount(store.topology[graphs], minlength=len(topologies))
    first_node = np.repeat(topologies.node_ptr[:-1], np.diff(topologies.edge_ptr))
    degree = np.bincount(topologies.edge_index[1] + first_node, minlength=topologies.node_ptr[-1])
    uses_of_node = np.repeat(uses, np.diff(topologies.node_ptr))
    used = uses_of_node > 0
    histogram = np.bincount(degree[used], weights=uses_of_node[used], minlength=1)
    return DegreeStatistics(tuple(int(count) for count in histogram))
