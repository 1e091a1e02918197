"""Each heavy package is imported in the files that exist for it, and nowhere else."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src/ensemble_mtl"

ALLOWED = {
    "adios2": ["core/storage/bp.py"],
    "numba": ["models/kernels/compiled_loops.py"],
    "spglib": ["data/symmetry.py"],
    "matplotlib": ["report/drawing.py", "report/figures/*.py", "reproduce/*.py"],
    "jinja2": ["report/html.py"],
    "torch_geometric": ["data/batch.py", "models/reference.py", "models/conv/*.py"],
    "scipy": [
        "data/neighbors.py",
        "analysis/statistics.py",
        "analysis/verdict/quantiles.py",
        "report/figures/*.py",
    ],
    "mpi4py": ["launch/mpi/*.py"],
    "ray": ["launch/ray/*.py"],
    "rdkit": ["data/sources/smiles_molecule.py"],
    "rich": ["cli/progress.py", "report/table.py", "report/tables.py"],
}
FORBIDDEN = ("pickle", "dill", "cloudpickle", "shelve", "marshal")


@cache
def imported(path: Path) -> frozenset[str]:
    """Top-level names of everything that the file imports, at any depth of its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return frozenset(found)


@pytest.mark.parametrize("package", ALLOWED)
def test_a_heavy_package_stays_in_its_files(package: str) -> None:
    allowed = {path for pattern in ALLOWED[package] for path in SOURCE.glob(pattern)}
    users = {path for path in SOURCE.rglob("*.py") if package in imported(path)}
    assert users, f"nothing imports {package} any more: take it out of the dependencies"
    assert users <= allowed


def test_nothing_is_unpickled() -> None:
    for path in SOURCE.rglob("*.py"):
        assert not imported(path) & set(FORBIDDEN), path
        assert "weights_only=False" not in path.read_text(), path
