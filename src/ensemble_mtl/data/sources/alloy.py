"""A synthetic alloy: LSMS text files are written from a model, and then read like any others.

This source needs no download and takes the whole path that begins with raw text. Energy, charge
transfer and magnetic moment are coupled as in iron-platinum, but they are a model's numbers and say
nothing about a real alloy; every result made from them is marked synthetic. The equations
are in :mod:`ensemble_mtl.data.sources.alloy_model`.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from ensemble_mtl.core.elements import PROTON_NUMBERS
from ensemble_mtl.core.storage import atomic, folders
from ensemble_mtl.data.graph import FloatArray, IntArray, SourceData, TargetInfo
from ensemble_mtl.data.sources import lsms
from ensemble_mtl.data.sources.alloy_model import Hamiltonian, Lattice, Solution, lattice, solve
from ensemble_mtl.data.sources.base import Progress, SourceOptions

FORMAT = 1
"""Raised when the same options would give other files."""
RECORD = ".made_from.json"
_UNUSED = f"{0:21.15f}  {0:21.15f}  {1:21.15f}"
_FIELD = f"{0:21.15f}  {0:21.15f}  {0:21.15f}"
_FERMI_RY = 0.25
_BATCH = 256


class Options(SourceOptions):
    """Which configurations, on which lattice, with which model."""

    name: Literal["alloy"] = "alloy"
    elements: Annotated[tuple[str, ...], Field(min_length=2)] = ("Fe", "Pt")
    """Chemical symbols."""
    num_configurations: Annotated[int, Field(ge=4)] = 400
    """Distinct arrangements, the pure elements among them."""
    supercell: tuple[PositiveInt, PositiveInt, PositiveInt] = (2, 2, 2)
    """Repetitions of the two-atom body-centred tetragonal cell."""
    a: PositiveFloat = 5.218
    """Edge of the cell in bohr."""
    c: PositiveFloat = 7.058
    """Height of the cell in bohr."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the arrangements."""
    hamiltonian: Hamiltonian = Hamiltonian()
    """Constants of the model that gives energies, charges and moments."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for symbol in self.elements:
            if symbol not in PROTON_NUMBERS:
                raise ValueError(f"elements: got {symbol!r}, expected a chemical symbol such as Fe")
        if len(set(self.elements)) != len(self.elements):
            raise ValueError(f"elements: got {list(self.elements)}, expected each once")
        for key in ("electronegativity", "bare_moment", "susceptibility", "energy"):
            num_values = len(getattr(self.hamiltonian, key))
            if num_values != len(self.elements):
                raise ValueError(
                    f"hamiltonian.{key}: got {num_values} values, expected one for each of {len(self.elements)} "
                    "elements"
                )
        if not any(self.hamiltonian.bare_moment):
            raise ValueError(
                "hamiltonian.bare_moment: got 0 for all elements, so every moment would be 0; give one element a moment"
            )
        # distinct arrangements are drawn at random, which becomes slow when few are left
        max_configurations = len(self.elements) ** self.num_atoms // 2
        if self.num_configurations > max_configurations:
            raise ValueError(
                f"num_configurations: got {self.num_configurations}, expected at most {max_configurations}, half of "
                f"all arrangements of {self.num_atoms} atoms; use a larger supercell"
            )
        return self

    def declared(self) -> tuple[TargetInfo, ...]:
        """Those of the files that it writes."""
        return lsms.TARGETS

    @property
    def num_atoms(self) -> int:
        """Number of atoms of the supercell."""
        return 2 * int(np.prod(self.supercell))


def read(options: Options, *, raw: Path, progress: Progress) -> SourceData:
    """Write the files into the folder ``raw/alloy``, unless they are there, and read them.

    Args:
        options: see :class:`Options`.
        raw: folder in the study directory.
        progress: called with (done, total), in files.

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
    """Return distinct arrangements ``[G, n]``, as indices into ``elements``; the pure elements come first.

    Compositions are uniformly distributed over the whole range, and the places of the atoms are random.
    """
    num_atoms, num_kinds = options.num_atoms, len(options.elements)
    stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence([options.seed, *b"alloy"])))
    distinct = np.repeat(np.arange(num_kinds)[:, None], num_atoms, axis=1)
    while len(distinct) < options.num_configurations:
        # The atoms before the first cut are of the first kind, those up to the second cut of the second, and so on.
        # Cuts that are drawn uniformly make every composition equally likely.
        cuts = np.sort(stream.integers(0, num_atoms + 1, (_BATCH, num_kinds - 1)), axis=1)
        kinds = (np.arange(num_atoms)[None, :, None] >= cuts[:, None]).sum(axis=2)
        arrangements_so_far = np.concatenate([distinct, stream.permuted(kinds, axis=1)])
        _, first = np.unique(arrangements_so_far, axis=0, return_index=True)
        distinct = arrangements_so_far[np.sort(first)]  # in the order in which they were drawn
    return distinct[: options.num_configurations]


def _is_complete(folder: Path, record: dict[str, Any], num_files: int) -> bool:
    """Return whether ``folder`` has all files, made with the options in ``record``."""
    try:
        has_same_options = json.loads((folder / RECORD).read_text()) == record
    except (OSError, ValueError):
        return False
    return has_same_options and all((folder / f"out_{k}").is_file() for k in range(num_files))


def _write(folder: Path, record: dict[str, Any], options: Options) -> None:
    """Write a file for each arrangement, and the ``record`` of the options, as the folder ``folder``."""
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
    """Return the content of the file of arrangement ``g``, in the format of LSMS-3.

    The model has no band and no Fermi energy. The energy of bonding is written in the place of the band energy, and a
    multiple of the mean electronegativity in the place of the Fermi energy.
    """
    numbers = np.array([PROTON_NUMBERS[symbol] for symbol in options.elements])[kinds]
    fermi = _FERMI_RY * float(np.array(options.hamiltonian.electronegativity)[kinds].mean())
    lines = [f"{solution.energy[g]:.15f} {solution.bonding[g]:.15f} {fermi:.15f}"]
    columns = zip(numbers, sites.positions, numbers + solution.transfer[g], solution.moment[g], strict=True)
    lines += [_atom(site, *values) for site, values in enumerate(columns)]
    return "\n".join(lines) + "\n"


def _atom(site: int, number: int, position: FloatArray, charge: float, moment: float) -> str:
    """Return the line of one atom, with nominal values in the columns that are not read."""
    x, y, z = position
    return (
        f"{number:3d} {site:8d}  {x:21.15f}  {y:21.15f}  {z:21.15f}  {charge:12.6f} {moment:12.6f}  {_UNUSED}  "
        f"{-1.0:6.2f}  {_FIELD}  {0.0:8.4f}  {_UNUSED}"
    )
