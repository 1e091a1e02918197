"""One LSMS-3 text file (``info_evec_out``): parsed fast, or refused with line and column.

Line 1 contains the total energy, the band energy and the Fermi energy in Ry. Each further
line is one atom: Z, site index, x, y, z in bohr, electrons on the site, magnetic moment in
Bohr magnetons, and more columns that are not used. Lines and columns count from 1.

Nearly all files are flawless. So a file is first parsed quickly without regard to messages, and
only one that fails is parsed again, line by line, to say what is wrong where.
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
_SHOWN_CHARACTERS = 24
"""So much of a malformed number is shown in a message."""

Tokens = list[list[bytes]]
"""The words of each line."""


class Parsed(NamedTuple):
    """The numbers of one file.

    Attributes:
        energies: ``[3]`` total, band and Fermi energy in Ry; NaN where the file has none.
        atoms: ``[n, 7]``, one row per atom with the columns of :data:`COLUMNS`; lengths are in bohr.
    """

    energies: FloatArray
    atoms: FloatArray


class Malformed(Exception):  # noqa: N818 - the caller decides whether it is an error
    """A file cannot be used.

    Attributes:
        reason: what is wrong.
        line: the number of the line that is at fault, from 1, or None if no single line is.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line

    def where(self, file: str) -> str:
        """Return ``file:line: reason``, where ``file`` is the file's name."""
        return f"{file}: {self.reason}" if self.line is None else f"{file}:{self.line}: {self.reason}"


def parse(content: bytes, atoms_per_cell: int | None) -> Parsed:
    """Return the numbers of a file.

    Args:
        content: content of the file.
        atoms_per_cell: number of atoms it must have, or None if any will do.

    Raises:
        Malformed: the message says the line and the column, what is there, and what was expected.
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
    """Return ``outcomes`` with files of another size than the most common one as malformed.

    The size is the number of atoms. A file that was cut off between two lines is flawless by itself, and even neutral
    if it is of a pure element; as a reference energy it would shift every mixing enthalpy.
    """
    sizes = Counter(len(outcome.atoms) for outcome in outcomes if isinstance(outcome, Parsed))
    # a file that was cut off has fewer atoms, so of two sizes that are equally common the larger one is right
    common_size = max(sizes, key=lambda size: (sizes[size], size), default=0)
    share = f"{sizes[common_size]} of {sizes.total()} files"
    return [
        _odd_size(len(outcome.atoms), common_size, share)
        if isinstance(outcome, Parsed) and len(outcome.atoms) != common_size
        else outcome
        for outcome in outcomes
    ]


def _odd_size(num_atoms: int, common_size: int, share: str) -> Malformed:
    """Return the fault of a file with ``num_atoms`` atoms, where the ``share`` of files has ``common_size``."""
    return Malformed(
        f"got {num_atoms} atoms, expected {common_size} as in {share}; the file may be truncated; give the right "
        "number as data.atoms_per_cell, or set data.mixed_cells: true if the cells of this set differ in size",
        num_atoms + 2,  # the first line that is missing: one line of energies comes before the atoms
    )


def _fast(content: bytes, rows: Tokens) -> Parsed | None:
    """Return the numbers if the file is flawless, else None; :func:`_careful` then says what is wrong."""
    # Python reads 1_000 as a number, which here is a typing error
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
    """Return the numbers, or raise Malformed with the first fault."""
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
    """Return the numbers of an atom from the words of its line; ``line`` is the line's number, from 1."""
    values = [_number(token, line, k, COLUMNS) for k, token in enumerate(row[: len(COLUMNS)])]
    z, site = values[0], values[1]
    if z != round(z) or not 1 <= z <= MAX_PROTON_NUMBER:
        raise Malformed(f"column 1 (proton number): got {z:g}, expected an integer of 1 to {MAX_PROTON_NUMBER}", line)
    # atoms are numbered from 0, and the first one is in line 2
    if site != line - 2:
        raise Malformed(f"column 2 (site index): got {site:g}, expected {line - 2}; is a line missing?", line)
    return values


def _number(token: bytes, line: int, column: int, names: tuple[str, ...]) -> float:
    """Return the number in a column.

    Args:
        token: the word.
        line: number of the line, from 1, for the message.
        column: number of the column, from 0.
        names: names of the first columns.

    Raises:
        Malformed: the word is not a finite number.
    """
    try:
        value = math.nan if b"_" in token else float(token)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    text = token.decode("utf-8", "replace")
    shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
    name = f" ({names[column]})" if column < len(names) else ""
    raise Malformed(f"column {column + 1}{name}: got {shown!r}, expected a finite number", line)


def _energies(header: list[float]) -> FloatArray:
    """Return total, band and Fermi energy from the numbers of line 1, NaN for those that are not there."""
    return np.array([*header, math.nan, math.nan][: len(HEADER)])


def _check_whole(parsed: Parsed, atoms_per_cell: int | None) -> None:
    """Raise Malformed unless the file has the right number of atoms and is neutral, as a whole cell is."""
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
