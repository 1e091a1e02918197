"""Run the benchmarks and write their pages to ``docs/benchmarks/``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks import curvature, scheduling, training, verdicts

BENCHMARKS = {"training": training, "curvature": curvature, "scheduling": scheduling, "verdicts": verdicts}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, help="run only this benchmark")
    parser.add_argument("--rounds", type=int, help="interleaved repetitions; each benchmark has its own default")
    parser.add_argument("--qm8", type=Path, help="qm8.csv or qm8.csv.gz, to train on instead of a few small molecules")
    parser.add_argument("--rows", default="", help="rows of the verdicts, as A1,B2; they are printed, not written")
    parser.add_argument("--quick", action="store_true", help="few simulated verdicts; they are printed, not written")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs/benchmarks")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, benchmark in BENCHMARKS.items():
        if arguments.only in (None, name):
            data: dict[str, Any] = {"qm8": arguments.qm8} if name == "training" else {}
            if name == "verdicts":
                data = {"rows": list(filter(None, arguments.rows.split(","))), "quick": arguments.quick}
            for file, content in benchmark.run(arguments.rounds or benchmark.ROUNDS, **data).items():
                path = arguments.out / file
                if isinstance(content, str):
                    path.write_text(content)
                    print(content)
                else:
                    path.write_bytes(content)
                print(f"wrote {path}")


main()
