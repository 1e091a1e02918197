"""The form in which every source hands over its structures, and what it says of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Level = Literal["graph", "node"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class TargetInfo:
    """A property that a source offers to learn.

    Attributes:
        name: column name, e.g. ``mixing_enthalpy``.
        level: whether there is one value per graph or one per node.
        unit: physical unit as it is printed, e.g. ``Ry``; empty if dimensionless.
        description: one line for reports.
    """

    name: str
    level: Level
    unit: str
    description: str = ""


@dataclass(frozen=True)
class Bonds:
    """Edges that a source gives itself, instead of positions; a single atom has none.

    Attributes:
        edge_index: ``[2, E]`` int64, numbers of atoms from 0; each bond is listed in both directions.
        kind: ``[E]`` int64, index into ``SourceData.bond_kinds``, the same in both directions.
    """

    edge_index: IntArray
    kind: IntArray


@dataclass(frozen=True)
class Graph:
    """One structure with its targets, as read from raw files.

    Attributes:
        name: where it came from (file name, row, material id); unique within a source.
        atomic_numbers: ``[num_nodes]`` int64, proton numbers.
        positions: ``[num_nodes, 3]`` in ångström, or None where there are bonds.
        targets: target name -> ``[1]`` (graph level) or ``[num_nodes]`` (node level);
            NaN is a missing label.
        cell: ``[3, 3]`` lattice vectors as rows, in ångström, or None.
        bonds: the edges, for a source that gives these instead of positions; no neighbours are searched then.
    """

    name: str
    atomic_numbers: IntArray
    positions: FloatArray | None
    targets: dict[str, FloatArray]
    cell: FloatArray | None = None
    bonds: Bonds | None = None


@dataclass(frozen=True)
class SourceData:
    """All structures that a source has read, with their targets.

    Attributes:
        graphs: the structures, in a reproducible order.
        targets: the properties that every structure has.
        skipped: ``"where: reason"`` for each record left out under the policy ``skip``.
        synthetic: True where the numbers come from a model and not from nature or
            first principles; every result then says so.
        notes: lines for the report (references used, provenance).
        bond_kinds: names of the kinds of bonds, to which ``Bonds.kind`` refers; empty where positions make the edges.
    """

    graphs: list[Graph]
    targets: tuple[TargetInfo, ...]
    skipped: list[str] = field(default_factory=list)
    synthetic: bool = False
    notes: list[str] = field(default_factory=list)
    bond_kinds: tuple[str, ...] = ()
