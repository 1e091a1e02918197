"""Small CSV files of molecules, and what is read from them."""

from __future__ import annotations

from pathlib import Path

from ensemble_mtl.config.sections import GraphConfig
from ensemble_mtl.data import store
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.graph import SourceData
from ensemble_mtl.data.sources import smiles
from helpers.alloys import silent

TEXT = """\
smiles,gap,charge
C,0.5,1
CO,0.25,
c1ccccc1,,3
C#N,0.125,4
C=O,1.5,-2
"""


def options(folder: Path, text: str = TEXT, **settings: object) -> smiles.Options:
    """Write ``text`` as a CSV file into ``folder``, and return the options of the source that reads it."""
    path = folder / "molecules.csv"
    path.write_text(text)
    return smiles.Options.model_validate({"path": path, "targets": ["gap", "charge"], **settings})


def read(folder: Path, text: str = TEXT, **settings: object) -> SourceData:
    """Read the molecules of ``text``."""
    return smiles.read(options(folder, text, **settings), raw=folder, progress=silent)


def graphs(folder: Path, text: str = TEXT, **settings: object) -> GraphStore:
    """Return the graphs of the molecules of ``text``."""
    return store.build(read(folder, text, **settings), GraphConfig(), {})
