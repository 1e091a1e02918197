"""Check a GPU in one go: ``python -m benchmarks.gpu``; see ``README.md`` beside this file."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.runner import PARTS, Run, run

EXIT_TERMINATED = 128 + signal.SIGTERM
DEVICES, SIZES = ("cuda", "cpu", "emulated"), ("full", "small")


def main() -> int:
    """Run the parts, print the table; 0 if all of them ran and the device computes what the CPU does."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))  # which ends the part that runs, too
    begun = time.time()
    device = arguments.device or _device()
    size = arguments.size or ("full" if device == "cuda" else "small")
    names = [list(PARTS)[number] for number in arguments.parts]
    data = None if arguments.data is None else arguments.data.resolve()
    with tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as work:
        results = run(
            Run(device, size, data, arguments.out.resolve(), Path(work), begun, 60 * arguments.minutes), names
        )
    print((arguments.out / "gpu.md").read_text())
    return 0 if passed(results) else 1


def passed(results: dict[str, dict[str, Any]]) -> bool:
    """Whether every part came to its end, and correctness, if it was asked for, holds."""
    ran = all(result["status"] == "done" for result in results.values())
    checked = results.get("correctness")
    return ran and (checked is None or bool(checked["measured"].get("passed")))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    out = Path(os.environ.get("OUT", ".gpu/results"))
    parser.add_argument("--out", type=Path, default=out, help="folder of gpu.json, gpu.md and gpu.log [$OUT]")
    parser.add_argument("--device", choices=DEVICES, help="cuda if there is one, else cpu")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together")
    parser.add_argument("--parts", type=_parts, default=list(range(len(PARTS))), help="numbers, such as 0,1,5")
    parser.add_argument("--size", choices=SIZES, help="full on a GPU, else small")
    parser.add_argument("--data", type=Path, help="prepared data, unpacked; stand-ins are made without")
    return parser.parse_args()


def _parts(text: str) -> list[int]:
    numbers = sorted({int(number) for number in text.split(",")})
    if not all(0 <= number < len(PARTS) for number in numbers):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected numbers from 0 to {len(PARTS) - 1}, as in 0,1,5")
    return numbers


def _device() -> str:
    """A GPU if torch sees one."""
    try:
        import torch
    except Exception:  # whatever it is, the first part says so
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    sys.exit(main())
