"""Which arrangements of atoms are the same, exactly or up to a symmetry of the lattice.

An arrangement is hashed by tabulation: a fixed table holds a random 64-bit number for each
(site, element) and the hash is their sum mod 2^64. Two different arrangements collide with
probability 2^-64, so among G graphs some two do with at most G^2 / 2^65: 3e-11 for 32,000
graphs, or 2e-9 with the up to 256 images that symmetry adds to each. The sum (rather than
xor) makes the hash of all images of all graphs one gather per site.
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
"""How far a symmetry may miss a site; positions are given to at least this precision."""
_NUM_ELEMENTS = 128
_SEED = 20_210_101
_TOPOLOGY_STEP = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: spreads topology numbers


def arrangement_keys(store: GraphStore) -> Keys:
    """``[G]`` key of the exact arrangement: equal if topology and every site's element are."""
    return _keys(store, lambda k: np.arange(store.topologies.num_nodes(k))[None])


def symmetry_keys(store: GraphStore) -> Keys:
    """``[G]`` key equal for arrangements that a symmetry of the lattice maps onto each other.

    It is the least hash over the lattice's group, pure translations included.

    Raises:
        DataError: a topology has no cell, so that only exact arrangements can be told.
    """
    return _keys(store, lambda k: site_permutations(store.topologies, k))


def site_permutations(topologies: Topologies, k: int) -> IntArray:
    """``[P, n]`` distinct permutations of the sites of topology ``k`` by its lattice's symmetries.

    Row p maps site i to site ``[p, i]``; elements are ignored. The identity is among them.

    Raises:
        DataError: the topology has no cell, or its symmetry cannot be found.
    """
    import spglib

    cell = topologies.cells[k]
    if np.isnan(cell).any():
        raise DataError("symmetry: the graphs have no cell; set data.cell, or group by 'arrangement' instead")
    positions = topologies.positions[topologies.node_ptr[k] : topologies.node_ptr[k + 1]]
    fractional = positions @ np.linalg.inv(cell)
    try:
        structure = (cell.tolist(), fractional.tolist(), [1] * len(positions))
        with warnings.catch_warnings():
            # spglib 2.7 and 2.8 announce other error handling even where nothing went wrong
            warnings.simplefilter("ignore", DeprecationWarning)
            found = spglib.get_symmetry(structure, TOLERANCE_ANGSTROM)
    except Exception as error:  # spglib's own error classes differ between versions
        raise DataError(f"symmetry: spglib failed on the lattice ({error}); group by 'arrangement' instead") from None
    if found is None:
        raise DataError("symmetry: spglib found none for the lattice, not even the identity; check data.cell")
    images = np.einsum("pij,nj->pni", found["rotations"], fractional) + found["translations"][:, None]
    return np.unique(np.stack([_matched(image, fractional, cell) for image in images]), axis=0)


def _matched(image: FloatArray, fractional: FloatArray, cell: FloatArray) -> IntArray:
    """Site on which each image lies, checked: a permutation within the tolerance."""
    difference = image[:, None] - fractional[None]
    difference -= np.rint(difference)
    distance = np.linalg.norm(difference @ cell, axis=-1)
    site = distance.argmin(axis=1)
    # twice, since spglib applies its tolerance to averaged positions
    if distance.min(axis=1).max() > 2 * TOLERANCE_ANGSTROM or len(np.unique(site)) != len(site):
        raise DataError("symmetry: an operation does not map sites onto sites; check data.cell against the positions")
    return site


def _keys(store: GraphStore, permutations: Callable[[int], IntArray]) -> Keys:
    keys = np.empty(len(store), dtype=np.uint64)
    order = np.argsort(store.topology, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(store.topology, minlength=len(store.topologies)))[:-1])
    most = int(np.diff(store.topologies.node_ptr).max())
    table = np.random.Generator(np.random.PCG64(_SEED)).integers(0, 2**64, (most, _NUM_ELEMENTS), dtype=np.uint64)
    for k, graphs in enumerate(members):
        sites = np.arange(store.topologies.num_nodes(k))
        species = store.atomic_numbers[store.node_ptr[graphs][:, None] + sites]
        keys[graphs] = _least_hash(species, table, permutations(k)) + np.uint64(k * _TOPOLOGY_STEP % 2**64)
    return keys


def _least_hash(species: NDArray[np.int16], table: Keys, permutations: IntArray) -> Keys:
    """``[g]`` least hash of ``species`` ``[g, n]`` over all ``permutations`` ``[P, n]``."""
    least = np.full(len(species), np.iinfo(np.uint64).max, dtype=np.uint64)
    present = np.unique(species)
    column = np.searchsorted(present, species)
    for permutation in permutations:
        hashes = np.zeros(len(species), dtype=np.uint64)
        for site, image in enumerate(permutation):
            hashes += table[image, present][column[:, site]]
        np.minimum(least, hashes, out=least)
    return least
