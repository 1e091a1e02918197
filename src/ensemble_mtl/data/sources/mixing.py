"""Mixing enthalpy: the total energy without the energies of the pure elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ensemble_mtl.core.elements import PROTON_NUMBERS, SYMBOLS
from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.graph import FloatArray, IntArray


@dataclass(frozen=True)
class Reference:
    """The energy of a pure element to which mixing enthalpies refer.

    Attributes:
        energy: energy of the whole reference cell, in Ry.
        num_atoms: number of atoms in that cell.
        note: where the energy comes from, for the report.
    """

    energy: float
    num_atoms: int
    note: str


def mixing_enthalpy(
    names: Sequence[str], energies: FloatArray, atomic_numbers: list[IntArray], configured: Mapping[str, float]
) -> tuple[FloatArray, list[str]]:
    """Return the mixing enthalpy ``ΔH = E - Σ_e n_e E_ref(e) / N_ref(e)`` of each configuration.

    The sum is over the elements e, n_e is the number of their atoms in the configuration, and E_ref and N_ref are
    energy and number of atoms of the reference (Lupo Pasini 2022, §3). The reference of an element is the pure
    configuration with the lowest energy per atom, unless ``configured`` has the element. The mixing enthalpy of a pure
    configuration that serves as reference is then exactly zero.

    Args:
        names: ``[G]`` names of the configurations, for the notes.
        energies: ``[G]`` total energies in Ry.
        atomic_numbers: ``[n]`` proton numbers of each of the G configurations.
        configured: symbol -> reference energy in Ry per atom.

    Returns:
        ``[G]`` mixing enthalpies in Ry per configuration, and a note for each reference.

    Raises:
        DataError: an element has no reference.
    """
    sizes = np.array([len(numbers) for numbers in atomic_numbers])
    elements, index = np.unique(np.concatenate(atomic_numbers), return_inverse=True)
    graph = np.repeat(np.arange(len(sizes)), sizes)
    counts = np.bincount(graph * len(elements) + index, minlength=len(sizes) * len(elements))
    counts = counts.reshape(len(sizes), len(elements))
    enthalpy, notes = energies.copy(), []
    for column, z in enumerate(elements):
        symbol = SYMBOLS[z - 1]
        if symbol in configured:
            reference = Reference(configured[symbol], 1, "as configured")
        else:
            pure = np.flatnonzero(counts[:, column] == sizes)
            reference = _lowest_pure(names, energies, sizes, pure, symbol)
        # For the reference cell itself the ratio of atoms is exactly 1, so its enthalpy is exactly 0. Number of atoms
        # times energy per atom would be rounded.
        enthalpy -= counts[:, column] / reference.num_atoms * reference.energy
        energy_per_atom = reference.energy / reference.num_atoms
        notes.append(f"reference energy of {symbol}: {energy_per_atom:.10f} Ry/atom, {reference.note}")
    return enthalpy, notes


def _lowest_pure(names: Sequence[str], energies: FloatArray, sizes: IntArray, pure: IntArray, symbol: str) -> Reference:
    """Return the reference from the pure configuration of the lowest energy per atom.

    Args:
        names: ``[G]`` names of all configurations.
        energies: ``[G]`` total energies in Ry.
        sizes: ``[G]`` numbers of atoms.
        pure: indices of the pure configurations of the element.
        symbol: the element's symbol, for the message.

    Raises:
        DataError: there is no pure configuration.
    """
    if not len(pure):
        raise DataError(
            f"mixing enthalpy: there is no configuration of pure {symbol} among the {len(sizes)} that were read, and "
            f"no reference energy; add a configuration, or set data.references: {{{symbol}: <energy in Ry per atom>}}"
        )
    lowest = int(pure[np.argmin(energies[pure] / sizes[pure])])
    choice = f", the lowest of {len(pure)} pure configurations" if len(pure) > 1 else ""
    return Reference(float(energies[lowest]), int(sizes[lowest]), f"from {names[lowest]}{choice}")


def check_symbols(references: Mapping[str, float]) -> Mapping[str, float]:
    """Return the configured ``references`` (symbol -> Ry per atom) if they are valid.

    Raises:
        ValueError: a key is not a chemical symbol, or an energy is not finite.
    """
    for symbol, energy in references.items():
        if symbol not in PROTON_NUMBERS:
            raise ValueError(f"got {symbol!r}, expected a chemical symbol such as Fe")
        if not np.isfinite(energy):
            raise ValueError(f"{symbol}: got {energy}, expected a finite energy in Ry per atom")
    return references
