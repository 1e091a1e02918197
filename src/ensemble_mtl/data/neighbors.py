"""Neighbours within a radius, with all periodic images of any lattice.

A pair counts as neighbours if ``distance <= radius * (1 + 1e-9)``: a shell that lies on
the radius is taken whole, whatever the rounding of its positions in double precision.
"""

from __future__ import annotations

import itertools

import numpy as np

from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.graph import FloatArray, IntArray

TOLERANCE = 1e-9
COINCIDENT_ANGSTROM = 1e-4
"""No two nuclei are this close; such sites are one site given twice."""
MAX_IMAGES = 20_000_000


def neighbor_list(
    positions: FloatArray, cell: FloatArray | None, radius: float, periodic: bool
) -> tuple[IntArray, FloatArray]:
    """Directed edges j -> i between all sites within ``radius``.

    Args:
        positions: ``[n, 3]`` in ångström; need not lie inside the cell.
        cell: ``[3, 3]`` lattice vectors as rows in ångström; used only if ``periodic``.
        radius: cut-off in ångström; may exceed the cell, then a pair has several edges and a
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
        raise DataError("neighbours: a position is not finite; correct the structure")
    if periodic:
        wrapped, images, site = _images(positions, _checked_cell(cell), radius)
    else:
        wrapped, images, site = positions, positions, np.arange(len(positions))
    reach = radius * (1 + TOLERANCE)
    # the tree compares squares: ask for a little more and decide by the distance itself
    from scipy.spatial import cKDTree  # half a second, and trainers find no neighbours

    near = cKDTree(wrapped).sparse_distance_matrix(cKDTree(images), reach * (1 + TOLERANCE), output_type="ndarray")
    target, image = near["i"].astype(np.int64), near["j"].astype(np.int64)
    other = image != target  # the first n images are the sites themselves
    target, image = target[other], image[other]
    length = np.linalg.norm(images[image] - wrapped[target], axis=1)
    source = site[image]
    _refuse_coincident(source, target, length)
    inside = length <= reach
    source, target, length = source[inside], target[inside], length[inside]
    order = np.lexsort((length, source, target))
    return np.stack([source[order], target[order]]), length[order]


def _checked_cell(cell: FloatArray | None) -> FloatArray:
    if cell is None:
        raise DataError("graph.periodic: true needs the lattice, but the source gives none; set data.cell")
    edges = np.linalg.norm(cell, axis=1)
    if not np.isfinite(cell).all() or not abs(np.linalg.det(cell)) > 1e-9 * edges.prod():
        raise DataError(f"cell {cell.tolist()}: expected three linearly independent lattice vectors; set data.cell")
    return cell


def _images(positions: FloatArray, cell: FloatArray, radius: float) -> tuple[FloatArray, FloatArray, IntArray]:
    """Sites moved into the cell, all their images that can matter, and whose image each is."""
    inverse = np.linalg.inv(cell)
    fractional = positions @ inverse
    fractional -= np.floor(fractional)
    wrapped = fractional @ cell
    # distance between the lattice planes that each vector crosses; fractional coordinates
    # differ by less than 1, so one more cell than fit into the radius is enough
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    counts = np.floor(radius * (1 + TOLERANCE) / heights).astype(np.int64) + 1
    if np.prod(2.0 * counts + 1) * len(positions) > MAX_IMAGES:
        raise DataError(
            f"graph.radius: {radius:g} Å makes more than {MAX_IMAGES} periodic images; choose a smaller one"
        )
    shifts = np.array(list(itertools.product(*(range(-count, count + 1) for count in counts))))
    shifts = shifts[np.argsort(np.abs(shifts).sum(axis=1), kind="stable")]  # (0, 0, 0) first
    images = (wrapped[None] + (shifts @ cell)[:, None]).reshape(-1, 3)
    return wrapped, images, np.tile(np.arange(len(positions)), len(shifts))


def _refuse_coincident(source: IntArray, target: IntArray, length: FloatArray) -> None:
    if len(length) and length.min() < COINCIDENT_ANGSTROM:
        k = int(length.argmin())
        raise DataError(
            f"neighbours: sites {source[k]} and {target[k]} are {length[k]:.2g} Å apart, expected distinct sites; "
            "check the positions, and that the cell is not smaller than the structure"
        )
