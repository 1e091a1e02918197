"""Which elements and kinds of bonds have an entry in one-hot features.

The configuration either lists them, or asks for those that occur in the data by the word ``found``.
"""

from __future__ import annotations

import numpy as np

from ensemble_mtl.config.sections import GraphConfig
from ensemble_mtl.core.elements import PROTON_NUMBERS, SYMBOLS
from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.graph import IntArray


def elements(store: GraphStore, graph: GraphConfig) -> IntArray | None:
    """Return the proton numbers ``[F]`` of the entries, or None if inputs are proton numbers themselves.

    They are in the order of the list, or ascending if the configuration asks for those that occur.

    Raises:
        DataError: an atom's element is not in the list.
    """
    if graph.elements is None:
        return None
    occurring = np.unique(store.atomic_numbers).astype(np.int64)
    if graph.elements == "found":
        return occurring
    listed = np.array([PROTON_NUMBERS[symbol] for symbol in graph.elements], dtype=np.int64)
    unlisted = [SYMBOLS[z - 1] for z in occurring if z not in listed]
    if unlisted:
        raise DataError(
            f"graph.elements: the data hold {', '.join(unlisted)} besides {list(graph.elements)}; "
            "add them, or write found"
        )
    return listed


def bonds(store: GraphStore, graph: GraphConfig) -> tuple[str, ...] | None:
    """Return the names of the kinds of bonds that have entries, or None if edges have no such features.

    They are in the order of the list, or in the source's order if the configuration asks for those that occur.

    Raises:
        DataError: the source gives no bonds, or one of a kind that is not in the list.
    """
    if graph.bonds is None:
        return None
    kind_of_edge = store.topologies.bond_kind
    if kind_of_edge is None:
        raise DataError("graph.bonds: the source gives no bonds; leave it out (model.edge_basis expands lengths)")
    occurring = tuple(store.bond_kinds[k] for k in np.unique(kind_of_edge))
    if graph.bonds == "found":
        return occurring
    unlisted = [kind for kind in occurring if kind not in graph.bonds]
    if unlisted:
        raise DataError(
            f"graph.bonds: the data hold {', '.join(unlisted)} besides {list(graph.bonds)}; add them, or write found"
        )
    return graph.bonds


def check(store: GraphStore, graph: GraphConfig) -> None:
    """Check that every atom and bond of the data has its entry.

    Raises:
        DataError: an element or a kind of bond is not in the configuration's list.
    """
    elements(store, graph)
    bonds(store, graph)
