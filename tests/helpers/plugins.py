"""All families of plug-ins, by their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ensemble_mtl.config import registry

SOURCE = Path(__file__).parents[2] / "src/ensemble_mtl"
FAMILIES: list[registry.Family[Any]] = [
    registry.family(".".join(path.parent.relative_to(SOURCE).parts))
    for path in sorted(SOURCE.rglob("base.py"))
    if "FAMILY = " in path.read_text()
]
