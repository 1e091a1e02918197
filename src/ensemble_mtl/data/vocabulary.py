"""Which elements and kinds of bonds have an entry of one-hot features: as listed, or as found in the data."""

from __future__ import annotations

import numpy as np

from ensemble_mtl.config.sections import GraphConfig
from ensemble_mtl.core.elements import PROTON_NUMBERS, SYMBOLS
from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.graph import IntArray


def elements(store: GraphStore, graph: GraphConfig) -> IntArray | None:
    """``[F]`` proton numbers of the entries, ascending if found; None if inputs are proton numbers.

    Raises:
        DataError: an atom's element is not among those listed.
    """
    if graph.elements is None:
        return None
    held = np.unique(store.atomic_numbers).astype(np.int64)
    if graph.elements == "found":
        return held
    listed = np.array([PROTON_NUMBERS[symbol] for symbol in graph.elements], dtype=np.int64)
    missing = [SYMBOLS[z - 1] for z in held if z not in listed]
    if missing:
        held_too = f"the data hold {', '.join(missing)} besides {list(graph.elements)}"
        raise DataError(f"graph.elements: {held_too}; add them, or write found")
    return listed


def bonds(store: GraphStore, graph: GraphConfig) -> tuple[str, ...] | None:
    """Kinds of the entries, in the source's order if found; None if edges have no such features.

    Raises:
        DataError: the source gives no bonds, or one of a kind that is not listed.
    """
    if graph.bonds is None:
        return None
    used = store.topologies.bond_kind
    if used is None:
        raise DataError("graph.bonds: the source gives no bonds; leave it out (model.edge_basis expands lengths)")
    held = tuple(store.bond_kinds[k] for k in np.unique(used))
    if graph.bonds == "found":
        return held
    missing = [kind for kind in held if kind not in graph.bonds]
    if missing:
        raise DataError(
            f"graph.bonds: the data hold {', '.join(missing)} besides {list(graph.bonds)}; add them, or write found"
        )
    return graph.bonds


def check(store: GraphStore, graph: GraphConfig) -> None:
    """Raise DataError unless every atom and bond has its entry."""
    elements(store, graph)
    bonds(store, graph)
