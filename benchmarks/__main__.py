"""Run every benchmark and write its table to ``docs/benchmarks/``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import training


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved repetitions; the median is reported")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs/benchmarks")
    arguments = parser.parse_args()
    table = training.run(arguments.rounds)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "training.md"
    path.write_text(table)
    print(table)
    print(f"wrote {path}")


main()
