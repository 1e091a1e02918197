"""Pack what a machine with a GPU and no network needs: prepared data, and wheels of what it may lack.

    python -m benchmarks.gpu.pack --fept FePt_32atoms.tar.xz --qm8 qm8.csv.gz --out .gpu

It is run beforehand where there is a network. Prepared stores travel in place of raw files, so neither RDKit nor the
archives are needed there. Wheels are of Python 3.12 on x86-64 Linux, in the versions that are installed here.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.gpu.data import published, write

WHEELS = ("adios2", "pydantic", "pydantic-core", "annotated-types", "typing-inspection", "typing-extensions", "pyyaml")
"""What training from a prepared store imports and machines with torch, numpy, scipy and PyG may lack: spglib and RDKit
serve the preparation alone."""
OPTIONAL = {"pyhessian": "0.1"}
"""The peer of the probes, as the extra ``bench`` has it; left out if it has no wheel."""
PYTHON = "3.12"
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux1")
LIMIT_MIB = 60.0


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.pack", description=__doc__)
    parser.add_argument("--fept", type=Path, required=True, help="FePt_32atoms.tar.xz, doi 10.13139/OLCF/1762742")
    parser.add_argument("--qm8", type=Path, required=True, help="MoleculeNet's qm8.csv or qm8.csv.gz")
    parser.add_argument("--out", type=Path, default=Path(".gpu"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    pack_data(arguments.out / "data.tar.xz", {"fept": arguments.fept, "qm8": arguments.qm8})
    fetch_wheels(arguments.out / "wheels")
    sys.exit(0 if _report(arguments.out) <= LIMIT_MIB else f"more than {LIMIT_MIB:g} MiB; leave something out")


def pack_data(archive: Path, raw: dict[str, Path]) -> None:
    """Prepare the cases from their raw files and compress them.

    Args:
        archive: tar.xz to make; it holds one folder per case.
        raw: case -> raw file.
    """
    with tempfile.TemporaryDirectory() as folder:
        for case, path in raw.items():
            data: dict[str, Any] = {"path": str(path.resolve())}
            store = write(Path(folder) / case, case_name(case), published(case, {"data": data}), keep_targets=False)
            print(f"{case_name(case)}: {len(store):,} graphs prepared", flush=True)
        with tarfile.open(archive, "w:xz", preset=9) as tar:
            for case in raw:
                tar.add(Path(folder) / case, case)


def case_name(case: str) -> str:
    """What a case is called in tables."""
    return {"fept": "FePt", "qm8": "QM8"}[case]


def fetch_wheels(folder: Path) -> None:
    """Download the wheels, in the versions installed here, for the other machine's Python."""
    folder.mkdir(exist_ok=True)
    for name in WHEELS:
        version = metadata.version(name)
        if not _download(folder, f"{name}=={version}"):
            sys.exit(f"{name} {version}: no wheel for Python {PYTHON} on x86-64 Linux; try another version here")
    for name, version in OPTIONAL.items():
        if not _download(folder, f"{name}=={version}"):
            print(f"{name} {version} has no wheel; it was left out")


def _download(folder: Path, requirement: str) -> bool:
    """One wheel without what it requires; whether there is one."""
    platforms = [option for name in PLATFORMS for option in ("--platform", f"{name}_x86_64")]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", PYTHON, "--implementation", "cp", *platforms, "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if re.match("error", line, re.IGNORECASE)]
        print(f"{requirement}: {errors[-1] if errors else done.stderr[-300:]}")
    return done.returncode == 0


def _report(folder: Path) -> float:
    """Print the sizes; the total in MiB."""
    sizes = {path: path.stat().st_size / 2**20 for path in sorted(folder.rglob("*")) if path.is_file()}
    for path, size in sizes.items():
        print(f"{size:8.2f} MiB  {path.relative_to(folder)}")
    print(f"{sum(sizes.values()):8.2f} MiB  in all, of {LIMIT_MIB:g} at most")
    return sum(sizes.values())


if __name__ == "__main__":
    main()
