"""One LSMS-3 text file (``info_evec_out``): parsed fast, or refused with line and column.

Line 1 holds the total energy, the band energy and the Fermi energy in Ry. Each further
line is one atom: Z, site index, x, y, z in bohr, electrons on the site, magnetic moment in
Bohr magnetons, and more columns that are not used. Lines and columns count from 1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ensemble_mtl.data.graph import FloatArray

COLUMNS = ("proton number", "site index", "x", "y", "z", "charge", "magnetic moment")
HEADER = ("total energy", "band energy", "Fermi energy")
MAX_PROTON_NUMBER = 118
NEUTRALITY_PER_ATOM = 1e-3
"""Electrons per atom by which a cell's charge may differ from neutrality."""
_SHOWN = 24

Tokens = list[list[bytes]]


class Parsed(NamedTuple):
    """Numbers of one file.

    Attributes:
        energies: ``[3]`` total, band and Fermi energy in Ry; NaN where absent.
        atoms: ``[n, 7]``, the columns of :data:`COLUMNS`; lengths in bohr.
    """

    energies: FloatArray
    atoms: FloatArray


class Malformed(Exception):  # noqa: N818 - the caller decides whether it is an error
    """What is wrong with a file, and in which line if one is at fault."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line

    def where(self, file: str) -> str:
        """``file:line: reason``."""
        return f"{file}: {self.reason}" if self.line is None else f"{file}:{self.line}: {self.reason}"


def parse(content: bytes, atoms_per_cell: int | None) -> Parsed:
    """The numbers of a file.

    Args:
        content: the file.
        atoms_per_cell: number of atoms it has to have, or None.

    Raises:
        Malformed: with the line, the column, what was found and what was expected.
    """
    lines = content.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    rows = [line.split() for line in lines]
    parsed = _fast(content, rows)
    if parsed is None:
        parsed = _careful(rows)
    _check_whole(parsed, atoms_per_cell)
    return parsed


def of_one_size(outcomes: Sequence[Parsed | Malformed]) -> list[Parsed | Malformed]:
    """The same, but files whose atom number is not the set's most common one are malformed.

    A file cut between two lines is flawless on its own, and neutral if it is of a pure
    element; as a reference it would shift every mixing enthalpy.
    """
    sizes = Counter(len(outcome.atoms) for outcome in outcomes if isinstance(outcome, Parsed))
    # a cut file has fewer atoms, so the larger number counts where two are equally common
    common = max(sizes, key=lambda size: (sizes[size], size), default=0)
    share = f"{sizes[common]} of {sizes.total()} files"
    return [
        _odd_size(len(outcome.atoms), common, share)
        if isinstance(outcome, Parsed) and len(outcome.atoms) != common
        else outcome
        for outcome in outcomes
    ]


def _odd_size(num_atoms: int, common: int, share: str) -> Malformed:
    return Malformed(
        f"got {num_atoms} atoms, expected {common} as in {share}; the file may be truncated; give the right number as "
        "data.atoms_per_cell, or set data.mixed_cells: true if the cells of this set differ in size",
        num_atoms + 2,
    )


def _fast(content: bytes, rows: Tokens) -> Parsed | None:
    """The numbers if the file is flawless, else None: then the careful way says why."""
    if len(rows) < 2 or b"_" in content or not rows[0] or len({*map(len, rows[1:])}) != 1:
        return None
    num_columns = len(COLUMNS)
    if len(rows[1]) < num_columns:
        return None
    try:
        header = [float(token) for token in rows[0]]
        atoms = np.array([[float(token) for token in row[:num_columns]] for row in rows[1:]])
    except ValueError:
        return None
    z, site = atoms[:, 0], atoms[:, 1]
    if not (np.isfinite(header).all() and np.isfinite(atoms).all() and (site == np.arange(len(atoms))).all()):
        return None
    if not ((z == np.rint(z)) & (z >= 1) & (z <= MAX_PROTON_NUMBER)).all():
        return None
    return Parsed(_energies(header), atoms)


def _careful(rows: Tokens) -> Parsed:
    if not rows:
        raise Malformed("empty file, expected energies and one line per atom; copy it again from its source")
    if not rows[0]:
        raise Malformed("empty line, expected the total energy in Ry", 1)
    header = [_number(token, 1, k, HEADER) for k, token in enumerate(rows[0])]
    if len(rows) == 1:
        raise Malformed("end of file, expected one line per atom; the file may be truncated", 2)
    width = Counter(map(len, rows[1:])).most_common(1)[0][0]
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != width:
            raise Malformed(f"got {len(row)} columns, expected {width}", line)
        if width < len(COLUMNS):
            raise Malformed(f"got {width} columns, expected at least {len(COLUMNS)}: {', '.join(COLUMNS)}", line)
    atoms = [_atom(row, line) for line, row in enumerate(rows[1:], start=2)]
    return Parsed(_energies(header), np.array(atoms))


def _atom(row: list[bytes], line: int) -> list[float]:
    values = [_number(token, line, k, COLUMNS) for k, token in enumerate(row[: len(COLUMNS)])]
    z, site = values[0], values[1]
    if z != round(z) or not 1 <= z <= MAX_PROTON_NUMBER:
        raise Malformed(f"column 1 (proton number): got {z:g}, expected an integer of 1 to {MAX_PROTON_NUMBER}", line)
    if site != line - 2:
        raise Malformed(f"column 2 (site index): got {site:g}, expected {line - 2}; is a line missing?", line)
    return values


def _number(token: bytes, line: int, column: int, names: tuple[str, ...]) -> float:
    try:
        value = math.nan if b"_" in token else float(token)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    text = token.decode("utf-8", "replace")
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    name = f" ({names[column]})" if column < len(names) else ""
    raise Malformed(f"column {column + 1}{name}: got {shown!r}, expected a finite number", line)


def _energies(header: list[float]) -> FloatArray:
    return np.array([*header, math.nan, math.nan][: len(HEADER)])


def _check_whole(parsed: Parsed, atoms_per_cell: int | None) -> None:
    num_atoms = len(parsed.atoms)
    if atoms_per_cell is not None and num_atoms != atoms_per_cell:
        raise Malformed(
            f"got {num_atoms} atoms, expected {atoms_per_cell} (atoms_per_cell); the file may be truncated",
            num_atoms + 2,
        )
    excess = float((parsed.atoms[:, 5] - parsed.atoms[:, 0]).sum())
    if abs(excess) > NEUTRALITY_PER_ATOM * num_atoms:
        raise Malformed(
            f"the charges of its {num_atoms} atoms differ from neutrality by {excess:.4g} electrons, expected at most "
            f"{NEUTRALITY_PER_ATOM * num_atoms:.2g}; the file may be truncated"
        )
