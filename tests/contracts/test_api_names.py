"""The Python interface: what the package offers is what its page lists, and nothing is imported too early."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys

import pytest
from helpers.documents import ROOT, tables

import ensemble_mtl

PAGE = ROOT / "docs/python-api.md"
SOURCE = ROOT / "src/ensemble_mtl/__init__.py"
HEAVY = ("torch", "numpy", "pydantic", "yaml", "click", "numba", "adios2", "matplotlib", "scipy")


def test_the_page_lists_every_name_and_no_other() -> None:
    (table,) = tables(PAGE)
    listed = [name for row in table[1:] for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(listed) == sorted(ensemble_mtl.__all__)


def test_editors_see_the_names_where_the_program_finds_them() -> None:
    typed = {}
    (block,) = (node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If))
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        typed |= {alias.name: (node.module or "").removeprefix("ensemble_mtl.") for alias in node.names}
    assert typed == ensemble_mtl._MODULES
    assert sorted([*typed, "__version__"]) == sorted(ensemble_mtl.__all__)


@pytest.mark.parametrize("name", sorted({*ensemble_mtl.__all__} - {"__version__"}))
def test_every_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(ensemble_mtl, name)
    assert value.__name__ == name
    assert (inspect.getdoc(value) or "").endswith((".", "`"))
    assert value.__doc__


def test_an_unknown_name_is_refused_and_all_names_are_listed() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'trainn'"):
        _ = ensemble_mtl.trainn  # type: ignore[attr-defined]
    assert set(ensemble_mtl.__all__) <= set(dir(ensemble_mtl))


def loaded(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after ``code``."""
    script = f"import sys\n{code}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded("import ensemble_mtl; dir(ensemble_mtl)") == set()
    assert loaded("from ensemble_mtl import EnsembleMTLError, __version__") == set()


def test_planning_loads_no_torch() -> None:
    code = f"import ensemble_mtl as em; em.load_study({str(ROOT / 'configs/quickstart.yaml')!r}).plan()"
    assert loaded(code) & {"torch", "numba", "adios2", "matplotlib", "scipy"} == set()
