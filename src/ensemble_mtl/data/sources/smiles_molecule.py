"""One SMILES text to atoms and bonds, by RDKit.

Charges, isotopes and stereochemistry are not part of the graph. Atoms are numbered in RDKit's
canonical order, so that one molecule is the same graph however its SMILES is written.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ensemble_mtl.data.graph import IntArray

KINDS = ("single", "double", "triple", "aromatic")
"""Kinds of bonds in all but exotic molecules; further ones have the names that RDKit gives them, in lower case."""
MAX_LENGTH = 2000
"""Characters of a SMILES text; on longer ones RDKit may take minutes, and its older releases overflow the stack."""
_SHOWN_CHARACTERS = 60
"""So much of a malformed SMILES text is shown in a message."""


class Molecule(NamedTuple):
    """Atoms and bonds of a molecule.

    Attributes:
        numbers: ``[n]`` int64, proton numbers.
        edge_index: ``[2, E]`` int64, numbers of atoms from 0; each bond is listed in both directions.
        kinds: kind of each of the E edges.
    """

    numbers: IntArray
    edge_index: IntArray
    kinds: list[str]


def parse(hydrogens: bool, smiles: str) -> Molecule | str:
    """Return the molecule, or the reason why it cannot be read.

    Args:
        hydrogens: whether each hydrogen becomes an atom of its own; else those that RDKit can
            leave implicit are left out.
        smiles: the SMILES text.
    """
    if not smiles:
        return "got nothing, expected a SMILES text"
    if len(smiles) > MAX_LENGTH or not smiles.isprintable() or not smiles.isascii() or " " in smiles:
        return f"got {_shown(smiles)}, expected at most {MAX_LENGTH} printable characters without spaces"
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None:
            return f"got {_shown(smiles)}, {_reason(smiles)}"
        if hydrogens:
            molecule = Chem.AddHs(molecule)
        if not molecule.GetNumAtoms():
            return f"got {_shown(smiles)}, which has no atoms"
        # rank[a] is the place of RDKit's atom a in the canonical order. What the graph does not contain must not
        # influence the order: two molecules that differ in it alone are the same graph.
        rank = Chem.CanonicalRankAtoms(
            molecule, breakTies=True, includeChirality=False, includeIsotopes=False, includeAtomMaps=False
        )
        numbers = np.empty(len(rank), dtype=np.int64)
        numbers[list(rank)] = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
        if not numbers.all():
            return f"got {_shown(smiles)}, in which * stands for an unknown atom"
        bonds = [(rank[b.GetBeginAtomIdx()], rank[b.GetEndAtomIdx()], b.GetBondType()) for b in molecule.GetBonds()]
    one_way = np.array([(a, b) for a, b, _ in bonds], dtype=np.int64).reshape(-1, 2).T
    return Molecule(numbers, np.hstack([one_way, one_way[::-1]]), [kind.name.lower() for *_, kind in bonds] * 2)


def _reason(smiles: str) -> str:
    """Return why RDKit refuses the text, as a relative clause.

    RDKit first parses the text, and then checks it by the rules of chemistry, such as valences and aromatic rings. Both
    steps are done one after the other here to tell which of them fails.
    """
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles, sanitize=False)
    if molecule is None:
        return "which is not SMILES"
    try:
        Chem.SanitizeMol(molecule)
    except ValueError as error:  # RDKit's own errors are derived from it
        return f"which is no molecule ({' '.join(str(error).split())})"
    return "which RDKit cannot read"


def _shown(smiles: str) -> str:
    return repr(smiles if len(smiles) <= _SHOWN_CHARACTERS else f"{smiles[:_SHOWN_CHARACTERS]}…")
