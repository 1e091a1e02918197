"""The files that the commands of the documentation need: real ones, but small."""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ensemble_mtl.config import file as config_file
from helpers import alloys
from helpers.documents import ROOT, blocks

SMALL: dict[str, Any] = {
    "seeds": 2,
    "train": {"epochs": 2, "batch_size": 16},
    "probes": {"epochs": ["end"], "graphs": 4, "trace_samples": 2, "lanczos_steps": 3},
    "launch": {"launcher": {"name": "local", "workers": 2}},
    "report": {"figures": "none"},
}
"""Settings that make a study short: fewer members, epochs and samples, no figures. All else stays as on the page."""
CONFIGURATIONS = 48
CHAINS = ("C", "CC", "CCC", "CCCC", "C1CC1", "CC(C)C")
GROUPS = ("O", "N", "F", "C=O", "C#N", "OC", "C(=O)O", "C#C")


def reduced(text: str, *, every_subset: bool = True) -> str:
    """Return a study's YAML text with the short settings of :data:`SMALL`.

    Args:
        text: the study's YAML text.
        every_subset: whether a study of all subsets keeps them; else it has all tasks together, and the first alone.
    """
    study = yaml.safe_load(text)
    for key, value in SMALL.items():
        study[key] = {**(study.get(key) or {}), **value} if isinstance(value, Mapping) else value
    if not every_subset and study["subsets"] == "all":
        study["subsets"] = [list(study["tasks"]), list(study["tasks"])[:1]]
    if study["data"]["name"] == "alloy":
        study["data"]["num_configurations"] = CONFIGURATIONS
    return yaml.safe_dump(study, sort_keys=False)


def file_name(text: str) -> str:
    """Return ``my.yaml`` if the first line of a block is the comment ``# my.yaml``; else an empty text."""
    title = text.partition("\n")[0]
    return title.removeprefix("# ") if title.startswith("# ") and title.endswith(".yaml") else ""


def put_study(folder: Path, text: str) -> None:
    """Check that the study that a page shows is valid as it stands there, and write it with short settings."""
    path = folder / file_name(text)
    path.write_text(text)
    config_file.load(path)
    path.write_text(reduced(text))


def put_files(folder: Path) -> None:
    """Fill a folder with what a reader has: a clone of the repository, data, and ``my.yaml``."""
    for name in ("hpc", "jobs", "Makefile", "constraints.txt", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "configs").mkdir()
    for path in (ROOT / "configs").glob("*.yaml"):
        (folder / "configs" / path.name).write_text(reduced(path.read_text(), every_subset=False))
    home = folder / "home"
    home.mkdir()
    cells = _lsms_files(folder / "small", [2, 2, 2])
    cells.rename(folder / "my-alloy")
    large = _lsms_files(folder / "large", [4, 2, 2])
    with tarfile.open(home / "FePt_32atoms.tar.xz", "w:xz", preset=0) as archive:
        archive.add(large, "FePt")
    (folder / "molecules.csv").write_text(_molecules("smiles", "gap", "f1"))
    (home / "qm8.csv.gz").write_text(_molecules("smiles", "E1-CC2", "E2-CC2", "f1-CC2", "f2-CC2"))
    shown = (block.text for block in blocks(ROOT / "docs/your-data.md") if file_name(block.text) == "my.yaml")
    put_study(folder, next(shown))


def _lsms_files(raw: Path, supercell: list[int]) -> Path:
    alloys.data(raw, num_configurations=CONFIGURATIONS, supercell=supercell)
    files = raw / "alloy"
    for hidden in files.glob(".*"):
        hidden.unlink()
    return files


def _molecules(smiles: str, *columns: str) -> str:
    names = [chain + group for chain in CHAINS for group in GROUPS]
    rows = [[name, *(f"{(7 * k + 3 * c) % 11 / 10:.1f}" for c in range(len(columns)))] for k, name in enumerate(names)]
    return "\n".join(",".join(row) for row in [[smiles, *columns], *rows]) + "\n"
