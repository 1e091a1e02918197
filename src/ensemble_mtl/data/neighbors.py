"""Neighbours within a radius, with all periodic images of any lattice.

A pair of sites counts as neighbours if ``distance <= radius * (1 + 1e-9)``. So a shell of neighbours at exactly the
radius is taken as a whole, whatever the rounding of its positions in double precision.
"""

from __future__ import annotations

import itertools

import numpy as np

from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.graph import FloatArray, IntArray

TOLERANCE = 1e-9
"""Relative amount by which a neighbour may be farther away than the radius."""
COINCIDENT_ANGSTROM = 1e-4
"""No two nuclei are this close; such sites are one site that was given twice."""
MAX_IMAGES = 20_000_000
"""Largest number of sites and images among which neighbours are searched, so that memory suffices."""


def neighbor_list(
    positions: FloatArray, cell: FloatArray | None, radius: float, periodic: bool
) -> tuple[IntArray, FloatArray]:
    """Return the directed edges j -> i between all sites within ``radius``, and their lengths.

    Args:
        positions: ``[n, 3]`` in ångström; they need not lie inside the cell.
        cell: ``[3, 3]`` lattice vectors as rows in ångström; used only if ``periodic``.
        radius: cut-off in ångström. It may exceed the cell; then a pair has several edges, and a
            site is its own neighbour in other cells (never at distance zero).
        periodic: whether periodic images count.

    Returns:
        ``edge_index`` ``[2, E]``, row 0 the source j and row 1 the target i, and the lengths
        ``[E]`` in ångström; sorted by target, then source, then length.

    Raises:
        DataError: ``periodic`` without a cell, a degenerate cell, coincident sites, a
            position that is not finite, or a radius that makes too many images.
    """
    if not np.isfinite(positions).all():
        raise DataError("neighbours: got a position that is not finite, expected x, y, z in ångström; correct it")
    if periodic:
        sites, images, site_of_image = _images(positions, _checked_cell(cell), radius)
    else:
        sites, images, site_of_image = positions, positions, np.arange(len(positions))
    reach = radius * (1 + TOLERANCE)
    from scipy.spatial import cKDTree  # takes half a second to import, and processes that train need no neighbours

    # The tree compares squared distances, which round otherwise. So it is asked for slightly more, and which pairs
    # count is decided by their distances below.
    pairs = cKDTree(sites).sparse_distance_matrix(cKDTree(images), reach * (1 + TOLERANCE), output_type="ndarray")
    target, image = pairs["i"].astype(np.int64), pairs["j"].astype(np.int64)
    # the first n images are the sites themselves, so equal numbers are a site and itself at distance zero
    is_pair = image != target
    target, image = target[is_pair], image[is_pair]
    length = np.linalg.norm(images[image] - sites[target], axis=1)
    source = site_of_image[image]
    _refuse_coincident(source, target, length)
    is_inside = length <= reach
    source, target, length = source[is_inside], target[is_inside], length[is_inside]
    order = np.lexsort((length, source, target))
    return np.stack([source[order], target[order]]), length[order]


def _checked_cell(cell: FloatArray | None) -> FloatArray:
    """Return ``cell`` if there is one whose vectors span a volume; DataError otherwise."""
    if cell is None:
        raise DataError("graph.periodic: true needs the lattice, but the source gives none; set data.cell")
    edges = np.linalg.norm(cell, axis=1)
    if not np.isfinite(cell).all() or not abs(np.linalg.det(cell)) > 1e-9 * edges.prod():
        raise DataError(
            f"neighbours: got the cell {cell.tolist()}, expected three linearly independent lattice vectors; "
            "correct data.cell"
        )
    return cell


def _images(positions: FloatArray, cell: FloatArray, radius: float) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return all images of the sites that can be neighbours of a site in the cell.

    Returns:
        The n sites, moved into the cell, ``[n, 3]``; their images ``[I, 3]``, the sites themselves first; and the
        number of the site of each image ``[I]``.
    """
    inverse = np.linalg.inv(cell)
    fractional = positions @ inverse
    fractional -= np.floor(fractional)
    wrapped = fractional @ cell
    # The height of the cell along a vector is the distance of the two lattice planes that the vector joins. Fractional
    # coordinates of two sites in the cell differ by less than 1. So a neighbour is at most as many cells away as
    # heights fit into the radius, and one more.
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    counts = np.floor(radius * (1 + TOLERANCE) / heights).astype(np.int64) + 1
    if np.prod(2.0 * counts + 1) * len(positions) > MAX_IMAGES:
        raise DataError(
            f"graph.radius: {radius:g} Å makes more than {MAX_IMAGES} periodic images of the sites; "
            "choose a smaller radius"
        )
    shifts = np.array(list(itertools.product(*(range(-count, count + 1) for count in counts))))
    shifts = shifts[np.argsort(np.abs(shifts).sum(axis=1), kind="stable")]  # (0, 0, 0) first
    images = (wrapped[None] + (shifts @ cell)[:, None]).reshape(-1, 3)
    return wrapped, images, np.tile(np.arange(len(positions)), len(shifts))


def _refuse_coincident(source: IntArray, target: IntArray, length: FloatArray) -> None:
    """Raise DataError if two sites, or a site and an image, lie at one place."""
    if len(length) and length.min() < COINCIDENT_ANGSTROM:
        k = int(length.argmin())
        raise DataError(
            f"neighbours: sites {source[k]} and {target[k]} are {length[k]:.2g} Å apart, expected distinct sites; "
            "check the positions, and that the cell is not smaller than the structure"
        )
