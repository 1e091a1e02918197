"""A synthetic alloy: LSMS text files written from a model, then read like any others.

It needs no download and runs the whole path from raw text on. Energy, charge transfer and
magnetic moment are coupled as in iron-platinum, but they are a model's numbers and say
nothing about a real alloy; every result made from them is marked synthetic. The equations
stand in :mod:`ensemble_mtl.data.sources.alloy_model`.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from ensemble_mtl.config import registry
from ensemble_mtl.core.elements import PROTON_NUMBERS
from ensemble_mtl.core.storage import atomic, folders
from ensemble_mtl.data.graph import FloatArray, IntArray, SourceData
from ensemble_mtl.data.sources import lsms
from ensemble_mtl.data.sources.alloy_model import Hamiltonian, Lattice, Solution, lattice, solve
from ensemble_mtl.data.sources.raw_files import Progress

FORMAT = 1
"""Raised when the same options would give other files."""
TARGETS = lsms.TARGETS
RECORD = ".made_from.json"
_UNUSED = f"{0:21.15f}  {0:21.15f}  {1:21.15f}"
_FIELD = f"{0:21.15f}  {0:21.15f}  {0:21.15f}"
_FERMI_RY = 0.25
_BATCH = 256


class Options(registry.Options):
    """Which configurations, on which lattice, with which model."""

    name: Literal["alloy"] = "alloy"
    elements: Annotated[tuple[str, ...], Field(min_length=2)] = ("Fe", "Pt")
    num_configurations: Annotated[int, Field(ge=4)] = 400
    """Distinct arrangements, the pure elements among them."""
    supercell: tuple[PositiveInt, PositiveInt, PositiveInt] = (2, 2, 2)
    """Repetitions of the two-atom body-centred tetragonal cell."""
    a: PositiveFloat = 5.218
    """Edge of the cell in bohr."""
    c: PositiveFloat = 7.058
    """Height of the cell in bohr."""
    seed: Annotated[int, Field(ge=0)] = 0
    hamiltonian: Hamiltonian = Hamiltonian()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for symbol in self.elements:
            if symbol not in PROTON_NUMBERS:
                raise ValueError(f"elements: got {symbol!r}, expected a chemical symbol such as Fe")
        if len(set(self.elements)) != len(self.elements):
            raise ValueError(f"elements: got {list(self.elements)}, expected each once")
        for key in ("electronegativity", "bare_moment", "susceptibility", "energy"):
            given = len(getattr(self.hamiltonian, key))
            if given != len(self.elements):
                raise ValueError(
                    f"hamiltonian.{key}: got {given} values, expected one for each of {len(self.elements)}"
                )
        if not any(self.hamiltonian.bare_moment):
            raise ValueError("hamiltonian.bare_moment: all are 0, so every moment is; give one element a moment")
        most = len(self.elements) ** self.num_atoms // 2
        if self.num_configurations > most:
            raise ValueError(
                f"num_configurations: got {self.num_configurations}, expected at most {most}, half of all "
                f"arrangements of {self.num_atoms} atoms; use a larger supercell"
            )
        return self

    @property
    def num_atoms(self) -> int:
        """Atoms of the supercell."""
        return 2 * int(np.prod(self.supercell))


def fingerprint(options: Options) -> dict[str, Any]:
    """Nothing: the options alone decide the files."""
    return {}


def read(options: Options, *, raw: Path, progress: Progress) -> SourceData:
    """Write the files into ``raw/alloy``, unless they are there, and read them.

    Raises:
        DataError: the files cannot be read back.
        OSError: ``raw`` cannot be written.
    """
    folder = raw / "alloy"
    record = {"format": FORMAT, **options.model_dump(mode="json")}
    if not _is_complete(folder, record, options.num_configurations):
        _write(folder, record, options)
    sites = lattice(options.supercell, options.a, options.c)
    reader = lsms.Options(path=folder, cell=sites.lengths, atoms_per_cell=options.num_atoms)
    data = lsms.read(reader, raw=raw, progress=progress)
    note = f"synthetic {'-'.join(options.elements)} alloy of a model Hamiltonian, not first-principles data"
    return dataclasses.replace(data, synthetic=True, notes=[note, *data.notes])


def arrangements(options: Options) -> IntArray:
    """``[G, n]`` distinct arrangements, as indices into ``elements``; the pure ones first.

    Compositions are uniform over the whole range, the atoms' places random.
    """
    num_atoms, num_kinds = options.num_atoms, len(options.elements)
    stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence([options.seed, *b"alloy"])))
    found = np.repeat(np.arange(num_kinds)[:, None], num_atoms, axis=1)
    while len(found) < options.num_configurations:
        # numbers of atoms up to each kind: uniform cuts make every composition equally likely
        cuts = np.sort(stream.integers(0, num_atoms + 1, (_BATCH, num_kinds - 1)), axis=1)
        kinds = (np.arange(num_atoms)[None, :, None] >= cuts[:, None]).sum(axis=2)
        found = np.concatenate([found, stream.permuted(kinds, axis=1)])
        _, first = np.unique(found, axis=0, return_index=True)
        found = found[np.sort(first)]
    return found[: options.num_configurations]


def _is_complete(folder: Path, record: dict[str, Any], num_files: int) -> bool:
    try:
        same = json.loads((folder / RECORD).read_text()) == record
    except (OSError, ValueError):
        return False
    return same and all((folder / f"out_{k}").is_file() for k in range(num_files))


def _write(folder: Path, record: dict[str, Any], options: Options) -> None:
    sites = lattice(options.supercell, options.a, options.c)
    kinds = arrangements(options)
    solution = solve(sites, kinds, options.hamiltonian)
    temporary = atomic.temporary_sibling(folder)
    temporary.mkdir(parents=True)
    try:
        for g in range(len(kinds)):
            (temporary / f"out_{g}").write_text(_text(options, sites, kinds[g], solution, g))
        (temporary / RECORD).write_text(json.dumps(record))
        folders.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _text(options: Options, sites: Lattice, kinds: IntArray, solution: Solution, g: int) -> str:
    """One file in the format of LSMS-3; band and Fermi energy are nominal."""
    numbers = np.array([PROTON_NUMBERS[symbol] for symbol in options.elements])[kinds]
    fermi = _FERMI_RY * float(np.array(options.hamiltonian.electronegativity)[kinds].mean())
    lines = [f"{solution.energy[g]:.15f} {solution.bonding[g]:.15f} {fermi:.15f}"]
    columns = zip(numbers, sites.positions, numbers + solution.transfer[g], solution.moment[g], strict=True)
    lines += [_atom(site, *values) for site, values in enumerate(columns)]
    return "\n".join(lines) + "\n"


def _atom(site: int, number: int, position: FloatArray, charge: float, moment: float) -> str:
    x, y, z = position
    return (
        f"{number:3d} {site:8d}  {x:21.15f}  {y:21.15f}  {z:21.15f}  {charge:12.6f} {moment:12.6f}  {_UNUSED}  "
        f"{-1.0:6.2f}  {_FIELD}  {0.0:8.4f}  {_UNUSED}"
    )
