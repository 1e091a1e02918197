"""Run the benchmarks and write their pages to ``docs/benchmarks/``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import curvature, scheduling, training

BENCHMARKS = {"training": training, "curvature": curvature, "scheduling": scheduling}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, help="run only this benchmark")
    parser.add_argument("--rounds", type=int, help="interleaved repetitions; each benchmark has its own default")
    parser.add_argument("--qm8", type=Path, help="qm8.csv or qm8.csv.gz, to train on instead of a few small molecules")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs/benchmarks")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, benchmark in BENCHMARKS.items():
        if arguments.only in (None, name):
            data = {"qm8": arguments.qm8} if name == "training" else {}
            for file, content in benchmark.run(arguments.rounds or benchmark.ROUNDS, **data).items():
                path = arguments.out / file
                if isinstance(content, str):
                    path.write_text(content)
                    print(content)
                else:
                    path.write_bytes(content)
                print(f"wrote {path}")


main()
