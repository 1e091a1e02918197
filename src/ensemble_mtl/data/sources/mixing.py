"""Mixing enthalpy from total energies and the energies of the pure elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ensemble_mtl.core.elements import PROTON_NUMBERS, SYMBOLS
from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.graph import FloatArray, IntArray


@dataclass(frozen=True)
class Reference:
    """Energy of a pure element.

    Attributes:
        energy: of the whole reference cell, in Ry.
        num_atoms: of that cell.
        note: where it comes from, for the report.
    """

    energy: float
    num_atoms: int
    note: str


def mixing_enthalpy(
    names: Sequence[str], energies: FloatArray, atomic_numbers: list[IntArray], given: Mapping[str, float]
) -> tuple[FloatArray, list[str]]:
    """``ΔH = E - Σ_e n_e E_ref(e) / N_ref(e)`` of each configuration.

    The references are the set's own pure configurations unless ``given`` has the element;
    the pure configurations themselves then come out as exactly zero. (Lupo Pasini 2022, §3.)

    Args:
        names: ``[G]``, for the notes.
        energies: ``[G]`` total energies in Ry.
        atomic_numbers: proton numbers of each configuration.
        given: symbol -> reference energy in Ry per atom.

    Returns:
        ``[G]`` in Ry per configuration, and a note for each reference.

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
        if symbol in given:
            found = Reference(given[symbol], 1, "as configured")
        else:
            found = _lowest(names, energies, sizes, np.flatnonzero(counts[:, column] == sizes), symbol)
        # the ratio is exactly 1 for the reference cell itself; energy per atom would not be
        enthalpy -= counts[:, column] / found.num_atoms * found.energy
        notes.append(f"reference energy of {symbol}: {found.energy / found.num_atoms:.10f} Ry/atom, {found.note}")
    return enthalpy, notes


def _lowest(names: Sequence[str], energies: FloatArray, sizes: IntArray, pure: IntArray, symbol: str) -> Reference:
    if not len(pure):
        raise DataError(
            f"mixing enthalpy: no configuration of pure {symbol} among the {len(sizes)} read, and no reference given; "
            f"add one, or set data.references: {{{symbol}: <energy in Ry per atom>}}"
        )
    best = int(pure[np.argmin(energies[pure] / sizes[pure])])
    several = f", the lowest of {len(pure)} pure configurations" if len(pure) > 1 else ""
    return Reference(float(energies[best]), int(sizes[best]), f"from {names[best]}{several}")


def check_symbols(given: Mapping[str, float]) -> Mapping[str, float]:
    """Refuse keys that are no chemical symbols (ValueError)."""
    for symbol, energy in given.items():
        if symbol not in PROTON_NUMBERS:
            raise ValueError(f"got {symbol!r}, expected a chemical symbol such as Fe")
        if not np.isfinite(energy):
            raise ValueError(f"{symbol}: got {energy}, expected a finite energy in Ry per atom")
    return given
