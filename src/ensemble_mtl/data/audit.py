"""What a data set contains, and what in it may spoil a study."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ensemble_mtl.core.elements import SYMBOLS
from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data import symmetry
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.composition import compositions
from ensemble_mtl.data.graph import FloatArray, IntArray, TargetInfo

_LINEAR_TOLERANCE = 1e-12
"""Two targets count as linear functions of each other if 1 - |r| of their correlation r is at most this."""


@dataclass(frozen=True)
class TargetAudit:
    """Statistics of one target's values without missing ones; they are None if there are no values.

    Attributes:
        name: name of the target.
        level: ``graph`` or ``node``.
        unit: unit of the statistics.
        minimum: smallest value.
        maximum: largest value.
        mean: arithmetic mean.
        std: standard deviation (ddof 0).
        num_missing: number of missing values (NaN).
        constant: whether all values are equal, so that there is nothing to learn.
    """

    name: str
    level: str
    unit: str
    minimum: float | None
    maximum: float | None
    mean: float | None
    std: float | None
    num_missing: int
    constant: bool


@dataclass(frozen=True)
class Duplicates:
    """Graphs that repeat an earlier one; graphs that are equal form a group.

    Attributes:
        num_distinct: number of distinct arrangements.
        num_groups: number of arrangements that occur more than once.
        num_extra: number of graphs that repeat an earlier arrangement.
        max_difference: graph-level target -> largest difference within a group, in the
            target's unit; zero where repeated graphs agree.
    """

    num_distinct: int
    num_groups: int
    num_extra: int
    max_difference: dict[str, float]


@dataclass(frozen=True)
class Audit:
    """What was counted, measured and compared in a graph store.

    Attributes:
        num_graphs: number of graphs.
        num_nodes: number of atoms in all graphs.
        num_topologies: number of distinct sets of sites.
        edges_per_topology: smallest and largest number of edges of a topology.
        elements: symbol -> number of atoms.
        bonds: kind -> number of bonds; None where positions made the edges.
        compositions: formula -> number of graphs.
        single_compositions: formulas of which there is one graph only.
        targets: statistics of each target.
        duplicated_targets: pairs of targets that are equal in every value.
        linear_targets: pairs of targets that are linear functions of each other.
        arrangements: graphs with equal atoms on equal sites.
        symmetric: graphs that are equal up to a symmetry of the lattice; None without a cell.
        max_charge_per_atom: largest |Σ charge transfer| / n of a graph in electrons; None
            if there is no such target.
        notes: what the source said.
        skipped: records that were left out.
        synthetic: whether the numbers come from a model.
    """

    num_graphs: int
    num_nodes: int
    num_topologies: int
    edges_per_topology: tuple[int, int]
    elements: dict[str, int]
    bonds: dict[str, int] | None
    compositions: dict[str, int]
    single_compositions: list[str]
    targets: list[TargetAudit]
    duplicated_targets: list[tuple[str, str]]
    linear_targets: list[tuple[str, str]]
    arrangements: Duplicates
    symmetric: Duplicates | None
    max_charge_per_atom: float | None
    notes: list[str]
    skipped: list[str]
    synthetic: bool

    def to_json(self) -> dict[str, Any]:
        """Return the audit as JSON values."""
        return asdict(self)


def audit(store: GraphStore) -> Audit:
    """Return the audit of all columns of ``store``."""
    num_edges = np.diff(store.topologies.edge_ptr)
    numbers, counts = np.unique(store.atomic_numbers, return_counts=True)
    distinct = compositions(store)
    num_graphs = {distinct.formula(k): len(members) for k, members in enumerate(distinct.members())}
    equal, linear = _dependent_pairs(store, store.info)
    return Audit(
        num_graphs=len(store),
        num_nodes=int(store.node_ptr[-1]),
        num_topologies=len(store.topologies),
        edges_per_topology=(int(num_edges.min()), int(num_edges.max())),
        elements={SYMBOLS[z - 1]: int(count) for z, count in zip(numbers, counts, strict=True)},
        bonds=_num_bonds(store),
        compositions=num_graphs,
        single_compositions=[formula for formula, count in num_graphs.items() if count == 1],
        targets=[_target_audit(store, info.name) for info in store.info],
        duplicated_targets=equal,
        linear_targets=linear,
        arrangements=_duplicates(store, symmetry.arrangement_keys(store)),
        symmetric=_symmetric_duplicates(store),
        max_charge_per_atom=_max_charge_per_atom(store),
        notes=list(store.provenance["notes"]),
        skipped=list(store.provenance["skipped"]),
        synthetic=store.provenance["synthetic"],
    )


def equal_targets(store: GraphStore, names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs among the targets ``names`` that have the same values, and miss the same ones."""
    return _dependent_pairs(store, [store.target_info(name) for name in names])[0]


def _num_bonds(store: GraphStore) -> dict[str, int] | None:
    """Return how many bonds of each kind all graphs have together, or None where positions made the edges."""
    kinds = store.topologies.bond_kind
    if kinds is None:
        return None
    uses = np.bincount(store.topology, minlength=len(store.topologies))
    uses_of_edge = np.repeat(uses, np.diff(store.topologies.edge_ptr))
    num_edges = np.bincount(kinds, weights=uses_of_edge, minlength=len(store.bond_kinds))
    # each bond is two edges, one in each direction
    return {name: int(count) // 2 for name, count in zip(store.bond_kinds, num_edges, strict=True) if count}


def _target_audit(store: GraphStore, name: str) -> TargetAudit:
    """Return the statistics of the target ``name``."""
    info, values = store.target_info(name), store.targets[name]
    present = values[~np.isnan(values)]
    num_missing = len(values) - len(present)
    if not len(present):
        return TargetAudit(name, info.level, info.unit, None, None, None, None, num_missing, constant=True)
    low, high = float(present.min()), float(present.max())
    mean, std = float(present.mean()), float(present.std())
    return TargetAudit(name, info.level, info.unit, low, high, mean, std, num_missing, constant=low == high)


def _dependent_pairs(
    store: GraphStore, targets: Sequence[TargetInfo]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the pairs of targets of one level that are equal, and those that are linear functions of each other."""
    equal, linear = [], []
    for first, second in itertools.combinations(targets, 2):
        x, y = store.targets[first.name], store.targets[second.name]
        if first.level != second.level or np.isnan(x).all() or np.isnan(y).all():
            continue
        if np.array_equal(x, y, equal_nan=True):
            equal.append((first.name, second.name))
        elif _is_linear(x, y):
            linear.append((first.name, second.name))
    return equal, linear


def _is_linear(x: FloatArray, y: FloatArray) -> bool:
    """Return whether y is a linear function of x where both have values, up to rounding."""
    has_both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[has_both], y[has_both]
    if len(x) < 3 or x.min() == x.max() or y.min() == y.max():
        return False
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    # For standardised values 1 - |r| = mean (x ∓ y)² / 2. Computed so, a small result has no cancellation.
    return float(min(((x - y) ** 2).mean(), ((x + y) ** 2).mean())) / 2 <= _LINEAR_TOLERANCE


def _duplicates(store: GraphStore, keys: symmetry.Keys) -> Duplicates:
    """Return the duplicates among graphs, where equal ``keys`` ``[G]`` mean equal graphs."""
    _, group, counts = np.unique(keys, return_inverse=True, return_counts=True)
    differences = {
        info.name: _largest_range(store.targets[info.name], group, len(counts))
        for info in store.info
        if info.level == "graph" and not np.isnan(store.targets[info.name]).all()
    }
    return Duplicates(len(counts), int((counts > 1).sum()), len(keys) - len(counts), differences)


def _largest_range(values: FloatArray, group: IntArray, num_groups: int) -> float:
    """Return the largest range of ``values`` ``[G]`` within a group of graphs, without missing values.

    Args:
        values: of the graphs; NaN is a missing value, and at least one is not missing.
        group: ``[G]`` number of each graph's group.
        num_groups: how many groups there are.
    """
    low, high = np.full(num_groups, np.inf), np.full(num_groups, -np.inf)
    present = ~np.isnan(values)
    np.minimum.at(low, group[present], values[present])
    np.maximum.at(high, group[present], values[present])
    has_values = high >= low
    return float((high[has_values] - low[has_values]).max())


def _symmetric_duplicates(store: GraphStore) -> Duplicates | None:
    """Return the graphs that are equal up to a symmetry of the lattice, or None where symmetry is unknown."""
    try:
        return _duplicates(store, symmetry.symmetry_keys(store))
    except DataError:  # there is no cell, or spglib fails
        return None


def _max_charge_per_atom(store: GraphStore) -> float | None:
    """Return how far the charge transfer of a graph is from neutral at most, in electrons per atom."""
    values = store.targets.get("charge_transfer")
    if values is None:
        return None
    sums = np.add.reduceat(np.nan_to_num(values), store.node_ptr[:-1])
    return float(np.abs(sums / np.diff(store.node_ptr)).max())
