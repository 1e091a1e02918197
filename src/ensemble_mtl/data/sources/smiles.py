"""Molecules as SMILES, with their properties, in a CSV file: QM8 of MoleculeNet, or any other.

Atoms are nodes and bonds are edges; there are no positions, so no neighbours are searched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt

from ensemble_mtl.config import registry
from ensemble_mtl.config.components import ConfigPath
from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.graph import Bonds, FloatArray, Graph, SourceData, TargetInfo
from ensemble_mtl.data.sources import parallel, raw_files, smiles_molecule, smiles_table
from ensemble_mtl.data.sources.smiles_molecule import KINDS, Molecule

GIVES_BONDS = True
SERIAL_MOLECULES = 20_000
"""Fewer are read faster than worker processes start."""
_CHUNK = 2000
_SHOWN_FAULTS = 5

Fault = tuple[int, str]
"""Line of the file, and what is wrong there."""


def _units(value: Any) -> Any:
    """A list of columns as a mapping to no units."""
    if isinstance(value, list | tuple):
        repeated = [name for name, count in Counter(map(str, value)).items() if count > 1]
        if repeated:
            raise ValueError(f"expected each column once, got {', '.join(repeated)} more often")
        return dict.fromkeys(value, "")
    if not isinstance(value, dict):
        raise ValueError("expected a list of columns, or a mapping of columns to units")
    return {key: unit or "" for key, unit in value.items()}


def _check_condition(text: str) -> str:
    smiles_table.condition(text)
    return text


class Options(registry.Options):
    """Which file, which of its columns, and which of its rows."""

    name: Literal["smiles"] = "smiles"
    path: ConfigPath
    """CSV file whose first line names the columns; plain or gzipped."""
    smiles: str = "smiles"
    """Column that holds the molecules."""
    targets: Annotated[Mapping[str, str], BeforeValidator(_units), Field(min_length=1)]
    """Columns to learn from: a list of their names, or name -> unit; blank fields are missing labels."""
    hydrogens: bool = False
    """Whether hydrogens are atoms of their own; else only those that SMILES cannot leave out, as in H2."""
    keep: Mapping[str, Annotated[str, AfterValidator(_check_condition)]] = {}
    """Column -> condition such as ``>= 0`` or ``> 0 and < 1``; rows that fail one, or lack the value, are left out."""
    missing: tuple[str, ...] = ()
    """Texts that mean a missing value, besides none at all; for example NaN or n/a."""
    duplicates: Literal["error", "allow"] = "error"
    """Whether a column may stand twice in the header (then the first counts), or two tasks have equal values."""
    on_error: Literal["error", "skip"] = "error"
    """What to do with a malformed row; skipped ones are listed in the report."""
    workers: PositiveInt | None = Field(None, exclude=True)
    """Processes that read molecules; by default one per core, at most 8. No part of the study's identity."""


class _Entry(NamedTuple):
    """A row whose numbers could be read: its line, SMILES, and the targets' values."""

    line: int
    smiles: str
    values: FloatArray


def fingerprint(options: Options) -> dict[str, int] | None:
    """What tells whether the file is still the same; None if it is not there."""
    return raw_files.fingerprint(options.path)


def declared(options: Options) -> tuple[TargetInfo, ...]:
    """The targets, whatever the file holds."""
    return tuple(TargetInfo(name, "graph", unit) for name, unit in options.targets.items())


def read(options: Options, *, raw: Path, progress: raw_files.Progress) -> SourceData:
    """The molecules in the file's order, named by line and SMILES.

    Args:
        options: see :class:`Options`.
        raw: not used; the file exists already.
        progress: called with (done, total), in molecules.

    Raises:
        DataError: the file cannot be read, lacks a column, holds a chosen column twice, has a
            malformed row (under ``error``), or no row is left.
    """
    chosen = list(dict.fromkeys([options.smiles, *options.targets, *options.keep]))
    table = smiles_table.read(options.path, chosen)
    _refuse_repeated(options, table)
    entries, faults, dropped = _entries(options, table, chosen)
    graphs, kinds, unreadable = _graphs(options, entries, progress)
    faults += unreadable
    told = [f"{options.path.name}:{line}: {reason}" for line, reason in sorted(faults)]
    if told and options.on_error == "error":
        raise DataError(_summary(told))
    if not graphs:
        reason = f"all {len(told)} rows are malformed: {told[0]}" if told else f"no row is left of {len(table.rows)}"
        raise DataError(f"{options.path}: {reason}; check data.path and data.keep")
    notes = [f"SMILES read by RDKit {metadata.version('rdkit')}", *_notes(options, table, dropped)]
    return SourceData(graphs, declared(options), told, notes=notes, bond_kinds=kinds)


def _refuse_repeated(options: Options, table: smiles_table.Table) -> None:
    for column in table.repeated:
        if column in (options.smiles, *options.keep) or (column in options.targets and options.duplicates == "error"):
            how = "with other values" if column in table.unequal else "with the same values"
            raise DataError(
                f"{options.path.name}:1: column {column!r} stands there more than once, {how}, expected once; remove "
                "the copies, or set data.duplicates: allow to use the first of a target"
            )


def _entries(
    options: Options, table: smiles_table.Table, chosen: list[str]
) -> tuple[list[_Entry], list[Fault], Counter[str]]:
    """Rows that are kept, faults, and how many rows fail each condition."""
    conditions = {column: smiles_table.condition(text) for column, text in options.keep.items()}
    numeric = [(column, chosen.index(column)) for column in dict.fromkeys([*options.keep, *options.targets])]
    entries, faults, dropped = [], list(table.faults), Counter[str]()
    for line, fields in table.rows:
        values = {}
        try:
            for column, k in numeric:
                values[column] = smiles_table.number(fields[k], options.missing)
        except ValueError as error:
            faults.append((line, f"column {column}: {error}"))
            continue
        failed = [column for column, holds in conditions.items() if not holds(values[column])]
        if failed:
            dropped.update([*failed, ""])
            continue
        entries.append(_Entry(line, fields[0], np.array([values[target] for target in options.targets])))
    return entries, faults, dropped


def _graphs(
    options: Options, entries: list[_Entry], progress: raw_files.Progress
) -> tuple[list[Graph], tuple[str, ...], list[Fault]]:
    """Molecules that can be read, the kinds of bonds to which theirs refer, and faults of the others."""
    work = partial(smiles_molecule.parse, options.hydrogens)
    texts = [entry.smiles for entry in entries]
    sizes = (SERIAL_MOLECULES, _CHUNK)
    molecules = parallel.in_order(texts, work, options.path.name, options.workers, sizes)
    graphs, kinds, faults = [], list(KINDS), []
    for done, (entry, found) in enumerate(zip(entries, molecules, strict=True), start=1):
        if isinstance(found, str):
            faults.append((entry.line, f"column {options.smiles}: {found}"))
        else:
            kinds += [kind for kind in dict.fromkeys(found.kinds) if kind not in kinds]
            graphs.append(_graph(options, entry, found, kinds))
        progress(done, len(entries))
    return graphs, tuple(kinds), faults


def _graph(options: Options, entry: _Entry, found: Molecule, kinds: list[str]) -> Graph:
    kind = np.array([kinds.index(kind) for kind in found.kinds], dtype=np.int64)
    targets = {target: entry.values[k : k + 1] for k, target in enumerate(options.targets)}
    name = f"{entry.line}: {entry.smiles}"
    return Graph(name, found.numbers, None, targets, bonds=Bonds(found.edge_index, kind))


def _notes(options: Options, table: smiles_table.Table, dropped: Counter[str]) -> list[str]:
    notes = []
    if options.keep:
        each = ", ".join(f"{column} {text}: {dropped[column]}" for column, text in options.keep.items())
        notes.append(f"{dropped['']} of {len(table.rows)} rows left out by data.keep ({each})")
    if table.repeated:
        notes.append(f"columns that stand more than once in the file: {', '.join(table.repeated)}")
    return notes


def _summary(faults: list[str]) -> str:
    lines = faults[:_SHOWN_FAULTS]
    if len(faults) > len(lines):
        lines.append(f"… and {len(faults) - len(lines)} more malformed rows")
    return "\n".join([*lines, "correct the rows, or set data.on_error: skip to leave them out"])
