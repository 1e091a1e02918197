"""System packages that some tests need; without them those tests are skipped, and the end of the run lists them."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

SLURM = ("slurmctld", "slurmd", "sbatch")


def packages() -> dict[str, str]:
    """Return program -> Debian package, as ``.ci/run`` installs them."""
    (programs,) = re.findall(r"^for program in (.*); do$", (Path(__file__).parents[2] / ".ci/run").read_text(), re.M)
    return dict(pair.split(":") for pair in programs.split())


def lacking(programs: Iterable[str]) -> list[str]:
    """Return the programs that this machine does not have."""
    return [program for program in programs if shutil.which(program) is None]


def needs(*programs: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test, or a file as ``pytestmark``, where a program is not installed."""
    absent = lacking(programs)
    return pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(absent)}")


def skip_without(*programs: str) -> None:
    """Skip the rest of the test where a program is not installed."""
    if absent := lacking(programs):
        pytest.skip(f"not installed: {', '.join(absent)}")


def summary(reasons: Iterable[str]) -> list[str]:
    """Return lines that say what was skipped and why, and which command installs what is missing.

    Args:
        reasons: the reason of each skipped test.
    """
    counts = Counter(reason.removeprefix("Skipped: ") for reason in reasons)
    lines = [
        f"{count} {'test was' if count == 1 else 'tests were'} skipped: {reason}" for reason, count in counts.items()
    ]
    package_of = packages()
    if counts and (absent := lacking(package_of)):
        lines.append(
            f"Install what is missing:  apt-get install {' '.join(sorted({package_of[name] for name in absent}))}"
        )
    return lines
