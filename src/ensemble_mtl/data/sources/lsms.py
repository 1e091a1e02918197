"""LSMS-3 text files, each with one configuration, in a folder or a tar archive.

The format is that of ``info_evec_out`` (see :mod:`ensemble_mtl.data.sources.lsms_file`). The
files contain no lattice vectors, so a periodic graph needs the option ``cell``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, PositiveInt, model_validator

from ensemble_mtl.config.checked import NOT_IDENTITY
from ensemble_mtl.config.components import ConfigPath
from ensemble_mtl.core.errors import DataError
from ensemble_mtl.core.units import BOHR_IN_ANGSTROM
from ensemble_mtl.data.graph import FloatArray, Graph, IntArray, SourceData, TargetInfo
from ensemble_mtl.data.sources import parallel, raw_files
from ensemble_mtl.data.sources.base import Progress, SourceOptions
from ensemble_mtl.data.sources.lsms_file import Malformed, Parsed, of_one_size
from ensemble_mtl.data.sources.mixing import check_symbols, mixing_enthalpy

TARGETS = (
    TargetInfo("mixing_enthalpy", "graph", "Ry", "total energy less that of the pure elements"),
    TargetInfo("total_energy", "graph", "Ry"),
    TargetInfo("band_energy", "graph", "Ry"),
    TargetInfo("fermi_energy", "graph", "Ry"),
    TargetInfo("charge_transfer", "node", "e", "electrons on the site less its proton number"),
    TargetInfo("charge", "node", "e", "electrons on the site"),
    TargetInfo("magnetic_moment", "node", "μB"),
)
_SHOWN_FAULTS = 5
"""So many malformed files are listed in an error message."""

Vector = tuple[float, float, float]


def _check_cell(cell: Vector | tuple[Vector, Vector, Vector]) -> Vector | tuple[Vector, Vector, Vector]:
    vectors = _vectors(cell)
    if not np.isfinite(vectors).all() or abs(np.linalg.det(vectors)) < 1e-9:
        raise ValueError("expected three lengths, or three independent lattice vectors, in bohr")
    return cell


def _vectors(cell: Vector | tuple[Vector, Vector, Vector]) -> FloatArray:
    """Return the lattice vectors ``[3, 3]`` as rows, from three vectors or from the lengths of orthogonal ones."""
    values = np.array(cell, dtype=np.float64)
    return np.diag(values) if values.ndim == 1 else values


class Options(SourceOptions):
    """Where the files are and how they are to be read."""

    name: Literal["lsms"] = "lsms"
    path: ConfigPath
    """Folder, or tar archive (plain, gz, bz2, xz)."""
    on_error: Literal["error", "skip"] = "error"
    """What to do with a malformed file; skipped ones are listed in the report."""
    cell: Annotated[Vector | tuple[Vector, Vector, Vector], AfterValidator(_check_cell)] | None = None
    """Lattice of every file in bohr: three lengths, or three vectors as rows."""
    atoms_per_cell: PositiveInt | None = None
    """Number of atoms of every file; if left out, the number that most files have."""
    mixed_cells: bool = False
    """Whether files may differ in their number of atoms; files cut off between two lines then go unnoticed."""
    references: Annotated[Mapping[str, float], AfterValidator(check_symbols)] = {}
    """Symbol -> Ry per atom; overrides the set's own pure configurations."""
    workers: Annotated[PositiveInt | None, NOT_IDENTITY] = None
    """Processes that parse; by default one per core, at most 8."""

    @model_validator(mode="after")
    def _one_size_or_several(self) -> Self:
        if self.mixed_cells and self.atoms_per_cell is not None:
            raise ValueError("mixed_cells: true and atoms_per_cell exclude each other; leave one of them out")
        return self

    def declared(self) -> tuple[TargetInfo, ...]:
        """What every file holds."""
        return TARGETS

    def raw_path(self) -> Path:
        """The folder or archive."""
        return self.path


def fingerprint(options: Options) -> dict[str, Any] | None:
    """Return what tells whether the raw files are still the same; None if they are not there."""
    return raw_files.fingerprint(options.path)


def read(options: Options, *, raw: Path, progress: Progress) -> SourceData:
    """All configurations, in natural order of their names.

    That order puts ``out_2`` before ``out_10``.

    Args:
        options: see :class:`Options`.
        raw: not used; the files exist already.
        progress: called with (done, total), in files of a folder or bytes of an archive.

    Raises:
        DataError: nothing can be read, a file is malformed (under ``error``), or an element
            has no reference energy.
    """
    files = raw_files.iterate(options.path, progress)
    outcomes = list(parallel.outcomes(files, options.path.name, options.atoms_per_cell, options.workers))
    names = raw_files.short_names(options.path, [name for name, _ in outcomes])
    outcomes = [(name, outcome) for name, (_, outcome) in zip(names, outcomes, strict=True)]
    outcomes.sort(key=lambda named_outcome: raw_files.natural(named_outcome[0]))
    _check_names(options.path, [name for name, _ in outcomes])
    parsed, faults = _usable_and_faults(options, outcomes)
    if faults and options.on_error == "error":
        raise DataError(_summary(faults))
    if not parsed:
        reason = f"all {len(faults)} files are malformed: {faults[0]}" if faults else "holds no files"
        raise DataError(f"{options.path}: {reason}; expected LSMS files, check data.path")
    graphs, notes = _graphs(options, parsed)
    return SourceData(graphs, TARGETS, faults, notes=notes)


def _usable_and_faults(
    options: Options, named_outcomes: list[parallel.Outcome]
) -> tuple[list[tuple[str, Parsed]], list[str]]:
    """Return names and numbers of the files that can be used, and ``where: reason`` of all others."""
    names, outcomes = [name for name, _ in named_outcomes], [outcome for _, outcome in named_outcomes]
    if not options.mixed_cells:
        outcomes = of_one_size(outcomes)
    named_outcomes = list(zip(names, outcomes, strict=True))
    parsed = [(name, outcome) for name, outcome in named_outcomes if isinstance(outcome, Parsed)]
    origin = options.path.name
    faults = [outcome.where(f"{origin}:{name}") for name, outcome in named_outcomes if isinstance(outcome, Malformed)]
    return parsed, faults


def _check_names(path: Path, names: list[str]) -> None:
    """Raise DataError if one of the sorted ``names`` is there twice, as an archive allows."""
    for name, next_name in itertools.pairwise(names):
        if name == next_name:
            raise DataError(
                f"{path}: {name} is in it twice, expected each name once; remove one, so that it is clear which counts"
            )


def _summary(faults: list[str]) -> str:
    """Return an error message that lists the first of the faults."""
    lines = faults[:_SHOWN_FAULTS]
    if len(faults) > len(lines):
        lines.append(f"… and {len(faults) - len(lines)} more malformed files")
    lines.append(
        "every file of data.path is read; correct or remove these files, or set data.on_error: skip to leave them out"
    )
    return "\n".join(lines)


def _graphs(options: Options, parsed: list[tuple[str, Parsed]]) -> tuple[list[Graph], list[str]]:
    """Return the graphs of the parsed files, and notes on the reference energies."""
    names = [name for name, _ in parsed]
    numbers: list[IntArray] = [file.atoms[:, 0].astype(np.int64) for _, file in parsed]
    energies = np.stack([file.energies for _, file in parsed])
    enthalpy, notes = mixing_enthalpy(names, energies[:, 0], numbers, options.references)
    by_graph = np.column_stack([enthalpy, energies])
    cell = None if options.cell is None else _vectors(options.cell) * BOHR_IN_ANGSTROM
    graph_targets = [info.name for info in TARGETS if info.level == "graph"]
    graphs = []
    for index, ((name, file), z) in enumerate(zip(parsed, numbers, strict=True)):
        charge = file.atoms[:, 5]
        targets = {target: by_graph[index, k : k + 1] for k, target in enumerate(graph_targets)}
        targets |= {"charge_transfer": charge - z, "charge": charge, "magnetic_moment": file.atoms[:, 6]}
        graphs.append(Graph(name, z, file.atoms[:, 2:5] * BOHR_IN_ANGSTROM, targets, cell))
    return graphs, notes
