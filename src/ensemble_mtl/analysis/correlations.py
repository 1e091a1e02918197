"""How the values of two tasks are correlated in the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

from ensemble_mtl.analysis import statistics
from ensemble_mtl.analysis.summary_rows import Correlation
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.graph import FloatArray

_CONSERVED = 1e-3
"""Sums over graphs that differ by no more than this share of the largest single value count as equal."""


def graph_values(store: GraphStore, target: str, *, total: bool = False) -> FloatArray:
    """``[G]`` one value per graph: a graph target as it is; a node target averaged or, with ``total``, summed."""
    values = store.targets[target]
    if store.target_info(target).level == "graph":
        return values
    # reduceat gives wrong sums for empty graphs, which the store does not hold
    sums: FloatArray = np.add.reduceat(values, store.node_ptr[:-1])
    return sums if total else sums / np.diff(store.node_ptr)


def is_conserved(store: GraphStore, target: str) -> bool:
    """Whether a node target sums to the same in every graph, as charge transfer does.

    The sums then differ by rounding only, so that a correlation with them means nothing.
    """
    if store.target_info(target).level == "graph":
        return False
    totals, values = graph_values(store, target, total=True), store.targets[target]
    labelled = totals[np.isfinite(totals)]
    return bool(len(labelled) and np.ptp(labelled) <= _CONSERVED * np.nanmax(np.abs(values)))


def correlations(store: GraphStore, targets: Mapping[str, str]) -> tuple[Correlation, ...]:
    """Pearson's r of each pair of tasks: per graph, and per node where both are node targets.

    Args:
        store: the graph store.
        targets: the name of each task to that of its target.
    """
    return tuple(row for pair in combinations(targets, 2) for row in _pair_rows(store, targets, pair))


def _pair_rows(store: GraphStore, targets: Mapping[str, str], tasks: tuple[str, str]) -> Iterator[Correlation]:
    """The correlations of two tasks: over graphs and, where both are node targets, over nodes."""
    names = [targets[task] for task in tasks]
    conserved = any(is_conserved(store, name) for name in names)
    first, second = (graph_values(store, name) for name in names)
    over_graphs = None if conserved else statistics.pearson(first, second)
    yield Correlation(tasks=tasks, level="graph", pearson=over_graphs, conserved=conserved)
    if all(store.target_info(name).level == "node" for name in names):
        over_nodes = statistics.pearson(*(store.targets[name] for name in names))
        yield Correlation(tasks=tasks, level="node", pearson=over_nodes, conserved=False)
