"""Molecules as SMILES, with their properties, in a CSV file: QM8 of MoleculeNet, or any other.

Atoms are nodes and bonds are edges. There are no positions, so no neighbours are searched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt

from ensemble_mtl.config.checked import NOT_IDENTITY
from ensemble_mtl.config.components import ConfigPath
from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.graph import Bonds, FloatArray, Graph, SourceData, TargetInfo
from ensemble_mtl.data.sources import parallel, raw_files, smiles_molecule, smiles_table
from ensemble_mtl.data.sources.base import Progress, SourceOptions
from ensemble_mtl.data.sources.smiles_molecule import KINDS, Molecule

SERIAL_MOLECULES = 20_000
"""Fewer molecules than this are read faster than worker processes start."""
_CHUNK = 2000
"""Number of molecules that a worker process is given at a time."""
_SHOWN_FAULTS = 5
"""So many malformed rows are listed in an error message."""

Fault = tuple[int, str]
"""Number of a line of the file, from 1, and what is wrong there."""


def _units(value: Any) -> Any:
    """Return the option ``targets`` as a mapping of columns to units, which a list of columns does not have.

    Raises:
        ValueError: it is neither a list nor a mapping, or a column is repeated.
    """
    if isinstance(value, list | tuple):
        repeated = [name for name, count in Counter(map(str, value)).items() if count > 1]
        if repeated:
            raise ValueError(f"expected each column once, got {', '.join(repeated)} more than once")
        return dict.fromkeys(value, "")
    if not isinstance(value, dict):
        raise ValueError("expected a list of columns, or a mapping of columns to units")
    return {key: unit or "" for key, unit in value.items()}


def _check_condition(text: str) -> str:
    smiles_table.condition(text)
    return text


class Options(SourceOptions):
    """Which file, which of its columns, and which of its rows."""

    gives_bonds: ClassVar[bool] = True
    equal_targets_remedy: ClassVar[str] = "set data.duplicates: allow"

    name: Literal["smiles"] = "smiles"
    path: ConfigPath
    """CSV file whose first line names the columns; plain or gzipped."""
    smiles: str = "smiles"
    """Column that holds the molecules."""
    targets: Annotated[
        Mapping[str, str],
        BeforeValidator(_units, json_schema_input_type=list[str] | dict[str, str | None]),
        Field(min_length=1),
    ]
    """Columns to learn from: a list of their names, or name -> unit; blank fields are missing labels."""
    hydrogens: bool = False
    """Whether all hydrogens are atoms of the graph, or only those that SMILES cannot leave out, as in H2."""
    keep: Mapping[str, Annotated[str, AfterValidator(_check_condition)]] = {}
    """Column -> condition such as ``>= 0`` or ``> 0 and < 1``; rows that fail one, or lack the value, are left out."""
    missing: tuple[str, ...] = ()
    """Texts that stand for a missing value, besides a blank field; for example NaN or n/a."""
    duplicates: Literal["error", "allow"] = "error"
    """Whether a column may be in the header twice (the first one is then used), or two tasks may have equal values."""
    on_error: Literal["error", "skip"] = "error"
    """What to do with a malformed row; skipped ones are listed in the report."""
    workers: Annotated[PositiveInt | None, NOT_IDENTITY] = None
    """Processes that read molecules; by default one per core, at most 8."""

    def declared(self) -> tuple[TargetInfo, ...]:
        """The columns that are chosen, whatever the file holds."""
        return tuple(TargetInfo(name, "graph", unit) for name, unit in self.targets.items())

    def raw_path(self) -> Path:
        """The file."""
        return self.path

    def allows_equal_targets(self) -> bool:
        """Whether ``duplicates`` says so."""
        return self.duplicates == "allow"


class _Entry(NamedTuple):
    """A row whose numbers could be read.

    Attributes:
        line: number of its line in the file, from 1.
        smiles: the SMILES text, which may still turn out not to be a molecule.
        values: ``[targets]`` values in the targets' units; NaN is a missing label.
    """

    line: int
    smiles: str
    values: FloatArray


def fingerprint(options: Options) -> dict[str, int] | None:
    """Return what tells whether the file is still the same; None if it is not there."""
    return raw_files.fingerprint(options.path)


def read(options: Options, *, raw: Path, progress: Progress) -> SourceData:
    """The molecules in the file's order, named by line and SMILES.

    Args:
        options: see :class:`Options`.
        raw: not used; the file exists already.
        progress: called with (done, total), in molecules.

    Raises:
        DataError: the file cannot be read, lacks a column, has a chosen column twice or a
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
    return SourceData(graphs, options.declared(), told, notes=notes, bond_kinds=kinds)


def _refuse_repeated(options: Options, table: smiles_table.CsvTable) -> None:
    """Raise DataError if a column that is read is in the file more than once, unless a target is allowed to be."""
    for column in table.repeated:
        if column in (options.smiles, *options.keep) or (column in options.targets and options.duplicates == "error"):
            values = "with other values" if column in table.unequal else "with the same values"
            raise DataError(
                f"{options.path.name}:1: got column {column!r} more than once, {values}, expected it once; remove the "
                "copies, or set data.duplicates: allow to use the first copy of a target"
            )


def _entries(
    options: Options, table: smiles_table.CsvTable, chosen: list[str]
) -> tuple[list[_Entry], list[Fault], Counter[str]]:
    """Return the rows that fulfil all conditions, the malformed ones, and how many rows fail each condition.

    The last of these counts columns of conditions, and under the empty name the rows that fail at least one.
    """
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
        failed = [column for column, fulfils in conditions.items() if not fulfils(values[column])]
        if failed:
            dropped.update([*failed, ""])
            continue
        entries.append(_Entry(line, fields[0], np.array([values[target] for target in options.targets])))
    return entries, faults, dropped


def _graphs(
    options: Options, entries: list[_Entry], progress: Progress
) -> tuple[list[Graph], tuple[str, ...], list[Fault]]:
    """Return the molecules that can be read, the names of the kinds of bonds, and the faults of other molecules.

    Kinds that are not among the usual ones are appended in the order of the file.
    """
    work = partial(smiles_molecule.parse, options.hydrogens)
    texts = [entry.smiles for entry in entries]
    sizes = (SERIAL_MOLECULES, _CHUNK)
    molecules = parallel.in_order(texts, work, options.path.name, options.workers, sizes)
    graphs, kinds, faults = [], list(KINDS), []
    for done, (entry, molecule) in enumerate(zip(entries, molecules, strict=True), start=1):
        if isinstance(molecule, str):  # it is the reason why there is none
            faults.append((entry.line, f"column {options.smiles}: {molecule}"))
        else:
            kinds += [kind for kind in dict.fromkeys(molecule.kinds) if kind not in kinds]
            graphs.append(_graph(options, entry, molecule, kinds))
        progress(done, len(entries))
    return graphs, tuple(kinds), faults


def _graph(options: Options, entry: _Entry, molecule: Molecule, kinds: list[str]) -> Graph:
    """Return the graph of a row; kinds of bonds become their index in ``kinds``."""
    kind = np.array([kinds.index(kind) for kind in molecule.kinds], dtype=np.int64)
    targets = {target: entry.values[k : k + 1] for k, target in enumerate(options.targets)}
    name = f"{entry.line}: {entry.smiles}"
    return Graph(name, molecule.numbers, None, targets, bonds=Bonds(molecule.edge_index, kind))


def _notes(options: Options, table: smiles_table.CsvTable, dropped: Counter[str]) -> list[str]:
    """Return lines for the report: how many rows were left out, and which columns are repeated."""
    notes = []
    if options.keep:
        counts = ", ".join(f"{column} {text}: {dropped[column]}" for column, text in options.keep.items())
        notes.append(f"{dropped['']} of {len(table.rows)} rows left out by data.keep ({counts})")
    if table.repeated:
        notes.append(f"columns that stand more than once in the file: {', '.join(table.repeated)}")
    return notes


def _summary(faults: list[str]) -> str:
    """Return an error message that lists the first of the faults."""
    lines = faults[:_SHOWN_FAULTS]
    if len(faults) > len(lines):
        lines.append(f"… and {len(faults) - len(lines)} more malformed rows")
    return "\n".join([*lines, "correct the rows, or set data.on_error: skip to leave them out"])
