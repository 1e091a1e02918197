"""What a data set holds, and what may spoil a study made with it."""

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
from ensemble_mtl.data.graph import FloatArray, TargetInfo

_LINEAR_TOLERANCE = 1e-12


@dataclass(frozen=True)
class TargetAudit:
    """One target's values, missing ones left out; statistics are None if there are none.

    Attributes:
        name: of the target.
        level: ``graph`` or ``node``.
        unit: of the statistics.
        minimum: smallest value.
        maximum: largest value.
        mean: arithmetic mean.
        std: standard deviation (ddof 0).
        num_missing: number of NaN.
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
    """Graphs that repeat an earlier one.

    Attributes:
        num_distinct: distinct arrangements.
        num_groups: arrangements that occur more than once.
        num_extra: graphs that repeat an earlier arrangement.
        max_difference: graph-level target -> largest difference within a group, in the
            target's unit; zero where repeated graphs agree.
    """

    num_distinct: int
    num_groups: int
    num_extra: int
    max_difference: dict[str, float]


@dataclass(frozen=True)
class Audit:
    """Findings on a graph store.

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
        arrangements: exact repetitions.
        symmetric: repetitions up to a symmetry of the lattice; None without a cell.
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
        """The findings as JSON values."""
        return asdict(self)


def audit(store: GraphStore) -> Audit:
    """Look at every column of the store."""
    edges = np.diff(store.topologies.edge_ptr)
    numbers, counts = np.unique(store.atomic_numbers, return_counts=True)
    found = compositions(store)
    histogram = {found.formula(k): len(members) for k, members in enumerate(found.members())}
    equal, linear = _copies(store, store.info)
    return Audit(
        num_graphs=len(store),
        num_nodes=int(store.node_ptr[-1]),
        num_topologies=len(store.topologies),
        edges_per_topology=(int(edges.min()), int(edges.max())),
        elements={SYMBOLS[z - 1]: int(count) for z, count in zip(numbers, counts, strict=True)},
        bonds=_bonds(store),
        compositions=histogram,
        single_compositions=[formula for formula, count in histogram.items() if count == 1],
        targets=[_target(store, info.name) for info in store.info],
        duplicated_targets=equal,
        linear_targets=linear,
        arrangements=_duplicates(store, symmetry.arrangement_keys(store)),
        symmetric=_symmetric(store),
        max_charge_per_atom=_charge(store),
        notes=list(store.provenance.get("notes", [])),
        skipped=list(store.provenance.get("skipped", [])),
        synthetic=bool(store.provenance.get("synthetic", False)),
    )


def _bonds(store: GraphStore) -> dict[str, int] | None:
    kinds = store.topologies.bond_kind
    if kinds is None:
        return None
    uses = np.bincount(store.topology, minlength=len(store.topologies))
    weights = np.repeat(uses, np.diff(store.topologies.edge_ptr))
    edges = np.bincount(kinds, weights=weights, minlength=len(store.bond_kinds))
    return {name: int(count) // 2 for name, count in zip(store.bond_kinds, edges, strict=True) if count}


def _target(store: GraphStore, name: str) -> TargetAudit:
    info, values = store.target_info(name), store.targets[name]
    present = values[~np.isnan(values)]
    missing = len(values) - len(present)
    if not len(present):
        return TargetAudit(name, info.level, info.unit, None, None, None, None, missing, constant=True)
    low, high = float(present.min()), float(present.max())
    mean, std = float(present.mean()), float(present.std())
    return TargetAudit(name, info.level, info.unit, low, high, mean, std, missing, constant=low == high)


def equal_targets(store: GraphStore, names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of the targets ``names`` that are the same, missing values included."""
    return _copies(store, [store.target_info(name) for name in names])[0]


def _copies(store: GraphStore, targets: Sequence[TargetInfo]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    equal, linear = [], []
    for one, other in itertools.combinations(targets, 2):
        x, y = store.targets[one.name], store.targets[other.name]
        if one.level != other.level or np.isnan(x).all() or np.isnan(y).all():
            continue
        if np.array_equal(x, y, equal_nan=True):
            equal.append((one.name, other.name))
        elif _is_linear(x, y):
            linear.append((one.name, other.name))
    return equal, linear


def _is_linear(x: FloatArray, y: FloatArray) -> bool:
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    if len(x) < 3 or x.min() == x.max() or y.min() == y.max():
        return False
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    # 1 - |r| = mean (x ∓ y)² / 2 for standardised values, without cancellation
    return float(min(((x - y) ** 2).mean(), ((x + y) ** 2).mean())) / 2 <= _LINEAR_TOLERANCE


def _duplicates(store: GraphStore, keys: symmetry.Keys) -> Duplicates:
    _, index, counts = np.unique(keys, return_inverse=True, return_counts=True)
    differences = {
        info.name: _spread(store.targets[info.name], index, len(counts))
        for info in store.info
        if info.level == "graph" and not np.isnan(store.targets[info.name]).all()
    }
    return Duplicates(len(counts), int((counts > 1).sum()), len(keys) - len(counts), differences)


def _spread(values: FloatArray, index: np.ndarray[Any, Any], num_groups: int) -> float:
    """Largest range of ``values`` within a group, missing ones left out."""
    low, high = np.full(num_groups, np.inf), np.full(num_groups, -np.inf)
    present = ~np.isnan(values)
    np.minimum.at(low, index[present], values[present])
    np.maximum.at(high, index[present], values[present])
    filled = high >= low
    return float((high[filled] - low[filled]).max())


def _symmetric(store: GraphStore) -> Duplicates | None:
    try:
        return _duplicates(store, symmetry.symmetry_keys(store))
    except DataError:
        return None


def _charge(store: GraphStore) -> float | None:
    values = store.targets.get("charge_transfer")
    if values is None:
        return None
    sums = np.add.reduceat(np.nan_to_num(values), store.node_ptr[:-1])
    return float(np.abs(sums / np.diff(store.node_ptr)).max())


def describe(found: Audit) -> str:
    """The findings as text for a terminal."""
    low, high = found.edges_per_topology
    edges = f"{low}" if low == high else f"{low} to {high}"
    lines = [
        *(["SYNTHETIC: the numbers come from a model"] if found.synthetic else []),
        f"{found.num_graphs} graphs, {found.num_nodes} atoms, {found.num_topologies} topologies of {edges} edges",
        "elements: " + _listed(found.elements),
        *([] if found.bonds is None else ["bonds: " + _listed(found.bonds)]),
        f"compositions: {len(found.compositions)}, {len(found.single_compositions)} of them with a single graph",
        *(_target_line(target) for target in found.targets),
        *(f"warning: {a} and {b} are equal in every value" for a, b in found.duplicated_targets),
        *(f"warning: {a} and {b} are linear functions of each other" for a, b in found.linear_targets),
        _duplicates_line("exact arrangements" if found.bonds is None else "molecules", found.arrangements),
    ]
    if found.symmetric is not None:
        lines.append(_duplicates_line("arrangements up to symmetry", found.symmetric))
    elif found.bonds is None:  # bonds know no lattice
        lines.append("arrangements up to symmetry: unknown without the cell; set data.cell")
    if found.max_charge_per_atom is not None:
        lines.append(f"charge neutrality: kept within {found.max_charge_per_atom:.2g} e per atom")
    return "\n".join([*lines, *found.notes, *(f"skipped {entry}" for entry in found.skipped)])


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _target_line(target: TargetAudit) -> str:
    head = f"{target.name} ({target.level}, {target.unit or 'dimensionless'})"
    if target.mean is None:
        return f"{head}: no values"
    ends = f"{target.minimum:g} to {target.maximum:g}, mean {target.mean:g}, std {target.std:g}"
    missing = f", {target.num_missing} missing" if target.num_missing else ""
    return f"{head}: {ends}{missing}{', CONSTANT: nothing to learn' if target.constant else ''}"


def _duplicates_line(title: str, found: Duplicates) -> str:
    worst = max(found.max_difference.items(), key=lambda item: item[1], default=("", 0.0))
    spread = f"; within groups {worst[0]} differs by up to {worst[1]:.3g}" if worst[1] else ""
    repeated = f"{found.num_extra} graphs repeat an earlier one, in {found.num_groups} groups"
    return f"{title}: {found.num_distinct} distinct; {repeated}{spread}"
