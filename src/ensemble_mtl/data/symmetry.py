"""Which arrangements of atoms are the same, exactly or up to a symmetry of the lattice.

Arrangements are compared by hashes. A fixed table holds a random 64-bit number for each pair of a site and an element,
and the hash of an arrangement is the sum of its numbers modulo 2^64. Two different arrangements have the same hash with
probability 2^-64. So among G graphs a collision occurs with a probability of at most G^2 / 2^65: 3e-11 for 32,000
graphs, or 2e-9 with the up to 256 images that symmetry adds to each. Since the hash is a sum over sites, the hashes of
one image of all graphs take one look-up in the table per site.

A symmetry of the lattice maps sites onto sites, so it permutes the sites of an arrangement. Arrangements that are
images of each other form a class. The smallest hash among all images is the same for every member of a class, and
serves as the key of the class.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.columns import GraphStore, Topologies
from ensemble_mtl.data.graph import FloatArray, IntArray

Keys = NDArray[np.uint64]

TOLERANCE_ANGSTROM = 1e-4
"""How far the image of a site may lie from a site; positions are given to at least this precision."""
_NUM_ELEMENTS = 128
_SEED = 20_210_101
_TOPOLOGY_STEP = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: spreads the numbers of topologies over all hashes


def arrangement_keys(store: GraphStore) -> Keys:
    """Return keys ``[G]`` that are equal for graphs of one topology with equal elements on all sites."""
    return _keys(store, lambda k: np.arange(store.topologies.num_nodes(k))[None])


def symmetry_keys(store: GraphStore) -> Keys:
    """Return keys ``[G]`` that are equal for arrangements that a symmetry of the lattice maps onto each other.

    A key is the smallest hash over all operations of the lattice's group, pure translations included.

    Raises:
        DataError: a topology has no cell, so that only exact arrangements can be compared.
    """
    return _keys(store, lambda k: site_permutations(store.topologies, k))


def site_permutations(topologies: Topologies, k: int) -> IntArray:
    """Return the distinct permutations ``[P, n]`` of the sites of topology ``k`` by its lattice's symmetries.

    Row p maps site i to site ``[p, i]``; elements are ignored. The identity is among the rows.

    Raises:
        DataError: the topology has no cell, or its symmetry cannot be determined.
    """
    import spglib

    cell = topologies.cells[k]
    if np.isnan(cell).any():
        raise DataError("symmetry: the graphs have no cell; set data.cell, or group by 'arrangement' instead")
    positions = topologies.positions[topologies.node_ptr[k] : topologies.node_ptr[k + 1]]
    fractional = positions @ np.linalg.inv(cell)
    try:
        # one element at all sites: the symmetry of the lattice is wanted, not that of one arrangement on it
        structure = (cell.tolist(), fractional.tolist(), [1] * len(positions))
        with warnings.catch_warnings():
            # spglib 2.7 and 2.8 announce other error handling even where nothing went wrong
            warnings.simplefilter("ignore", DeprecationWarning)
            operations = spglib.get_symmetry(structure, TOLERANCE_ANGSTROM)
    except Exception as error:  # spglib's own error classes differ between versions
        raise DataError(f"symmetry: spglib failed on the lattice ({error}); group by 'arrangement' instead") from None
    if operations is None:
        raise DataError(
            "symmetry: spglib gives no symmetry operation of the lattice, expected at least the identity; "
            "check data.cell"
        )
    images = np.einsum("pij,nj->pni", operations["rotations"], fractional) + operations["translations"][:, None]
    return np.unique(np.stack([_site_of_image(image, fractional, cell) for image in images]), axis=0)


def _site_of_image(image: FloatArray, fractional: FloatArray, cell: FloatArray) -> IntArray:
    """Return the site ``[n]`` on which the image of each site lies, across cell boundaries.

    Args:
        image: ``[n, 3]`` fractional coordinates of the sites' images.
        fractional: ``[n, 3]`` fractional coordinates of the sites.
        cell: ``[3, 3]`` lattice vectors as rows, in ångström.

    Raises:
        DataError: an image lies on no site, or two lie on one.
    """
    difference = image[:, None] - fractional[None]
    difference -= np.rint(difference)
    distance = np.linalg.norm(difference @ cell, axis=-1)
    site = distance.argmin(axis=1)
    # twice the tolerance, since spglib applies it to averaged positions
    if distance.min(axis=1).max() > 2 * TOLERANCE_ANGSTROM or len(np.unique(site)) != len(site):
        raise DataError("symmetry: an operation does not map sites onto sites; check data.cell against the positions")
    return site


def _keys(store: GraphStore, permutations: Callable[[int], IntArray]) -> Keys:
    """Return the keys ``[G]``: the smallest hash of each graph over the permutations of its topology's sites.

    Args:
        store: the data set.
        permutations: number of a topology -> ``[P, n]`` permutations of its sites.
    """
    keys = np.empty(len(store), dtype=np.uint64)
    order = np.argsort(store.topology, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(store.topology, minlength=len(store.topologies)))[:-1])
    max_nodes = int(np.diff(store.topologies.node_ptr).max())
    table = np.random.Generator(np.random.PCG64(_SEED)).integers(0, 2**64, (max_nodes, _NUM_ELEMENTS), dtype=np.uint64)
    for k, graphs in enumerate(members):
        sites = np.arange(store.topologies.num_nodes(k))
        species = store.atomic_numbers[store.node_ptr[graphs][:, None] + sites]
        # the number of the topology is added, so that equal species on different lattices have different keys
        keys[graphs] = _smallest_hash(species, table, permutations(k)) + np.uint64(k * _TOPOLOGY_STEP % 2**64)
    return keys


def _smallest_hash(species: NDArray[np.int16], table: Keys, permutations: IntArray) -> Keys:
    """Return the smallest hash ``[g]`` of each row of ``species`` over all permutations of the sites.

    Args:
        species: ``[g, n]`` proton number at each site of each graph.
        table: ``[sites, elements]`` random numbers.
        permutations: ``[P, n]``, row p moves what is at site i to site ``[p, i]``.
    """
    smallest = np.full(len(species), np.iinfo(np.uint64).max, dtype=np.uint64)
    present = np.unique(species)
    column = np.searchsorted(present, species)
    for permutation in permutations:
        hashes = np.zeros(len(species), dtype=np.uint64)
        for site, image in enumerate(permutation):
            hashes += table[image, present][column[:, site]]
        np.minimum(smallest, hashes, out=smallest)
    return smallest
