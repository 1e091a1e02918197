"""The picture of the rooms in DESIGN.md is that of the import contract, and of the folders."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/ensemble_mtl"


def levels() -> list[str]:
    """Rooms from the top down, as import-linter keeps them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return list(layers)


def test_the_picture_shows_the_rooms_in_their_order() -> None:
    (picture,) = re.findall(r"```mermaid\n(.*?)```", (ROOT / "DESIGN.md").read_text(), re.DOTALL)
    assert re.findall(r"^ *(\w+)\[\"(\w+): ", picture, re.MULTILINE) == [(room, room) for room in levels()]
    (chain,) = re.findall(r"^ *(\w+(?: --> \w+)+)$", picture, re.MULTILINE)
    assert chain.split(" --> ") == levels()


def test_every_folder_is_a_room_and_nothing_else_stands_at_the_top() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(levels())
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}
