"""Every plug-in's functions and values have the types that its family asks for."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

from helpers.plugins import FAMILIES, SOURCE

from ensemble_mtl.config import registry

ROOT = SOURCE.parents[1]


def _defined(module: str) -> set[str]:
    """The names that a module's file defines, before defaults are put beside them."""
    tree = ast.parse(Path(str(importlib.import_module(module).__file__)).read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def _assignments(family: registry.Family[Any]) -> list[str]:
    """Python in which each member of each plug-in takes the place of the same member of the family's protocol."""
    package = f"ensemble_mtl.{family.package}"
    modules = [f"{package}.{name}" for name in family.names()]
    lines = [f"import {module}" for module in (f"{package}.base", *modules)]
    lines.append(f"def of_{package.replace('.', '_')}(plugin: {package}.base.{family.protocol.__name__}) -> None:")
    for member in (*registry.functions(family.protocol), *get_type_hints(family.protocol)):
        lines.append(f"    {member} = plugin.{member}")
        lines += [f"    {member} = {module}.{member}" for module in modules if member in _defined(module)]
        if inspect.isfunction(default := family.defaults.get(member)):
            lines.append(f"    {member} = {default.__module__}.{default.__name__}")
    return lines


WRONG = """\
import torch
import ensemble_mtl.train.schedule.base as base
from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.train.weighting.base import Weighting

def start(options: object, members: int) -> dict[str, torch.Tensor]:
    return {}

def due(config: TrainConfig, epoch: int) -> str:
    return "yes"

def of_schedule(plugin: base.Schedule, weighting: Weighting) -> None:
    its_start = plugin.start
    its_start = start
    its_due = weighting.due
    its_due = due
"""
"""The name of a parameter, and a returned type, that are not the family's."""


def test_the_types_of_every_plug_in_are_those_of_its_family(tmp_path: Path) -> None:
    """By mypy, for which the names of parameters are part of a variable's type that holds a function."""
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    lines = [line for family in FAMILIES for line in _assignments(family)]
    assert sum(f" = {registry.ROOT}." in line for line in lines) > 3 * sum(len(family.names()) for family in FAMILIES)
    right.write_text("\n".join(lines) + "\n")
    wrong.write_text(WRONG)
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", str(right), str(wrong)]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    faults = [line for line in done.stdout.splitlines() if ": error: " in line]
    places = [fault.rpartition("/")[2].partition(": error")[0] for fault in faults]
    assert places == ["wrong.py:14", "wrong.py:16"], done.stdout + done.stderr
