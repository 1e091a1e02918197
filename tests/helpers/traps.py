"""Files beside a user's data that are called like modules; whoever imports one leaves a trace and fails."""

from __future__ import annotations

import functools
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

TRAP = """\
with open({trace!r}, "a") as file:
    file.write({name!r} + "\\n")
raise ImportError("imported from a folder of the user's")
"""


@functools.cache
def module_names() -> frozenset[str]:
    """Every module of Python and of what is installed, ``coverage``, ``random``, ``types``, ``torch`` among them."""
    installed = {name for name in importlib.metadata.packages_distributions() if name.isidentifier()}
    return frozenset(sys.stdlib_module_names | installed | {"coverage", "ensemble_mtl", "torch"})


@functools.cache
def names_loaded_before_main() -> frozenset[str]:
    """What ``python -m`` imports, from the working directory too, before any code of the module runs."""
    code = "import runpy, sys; print(*sys.modules)"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return frozenset(name.partition(".")[0] for name in listed.split())


def set_traps(folder: Path, trace: Path, names: Iterable[str] | None = None) -> None:
    """Put a file for each of the module ``names``, or else for all, into ``folder``.

    Args:
        folder: is made if it is not there.
        trace: file that receives the names of those that are imported.
        names: of modules.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in module_names() if names is None else names:
        (folder / f"{name}.py").write_text(TRAP.format(trace=str(trace), name=name))
