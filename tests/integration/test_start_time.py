"""Verbs that one calls often do not load what they do not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[2] / "configs/quickstart.yaml"
HEAVY = ("torch", "torch_geometric", "adios2", "matplotlib", "scipy", "pandas", "rich")

SCRIPT = """
import sys
from ensemble_mtl.cli.main import cli
try:
    cli.main(sys.argv[1:], standalone_mode=False)
finally:
    print("loaded:", *[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["probe", "--help"],
        ["reproduce", "appendix-e", "--help"],
        ["reproduce", "table-1", "--help"],
        ["plan", str(CONFIG)],
        ["status", str(CONFIG)],
        ["validate", str(CONFIG)],
    ],
    ids=lambda arguments: " ".join(Path(a).name for a in arguments),
)
def test_no_heavy_package_is_loaded(arguments: list[str]) -> None:
    script = SCRIPT.format(heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "loaded:"
