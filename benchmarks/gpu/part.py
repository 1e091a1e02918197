"""What every part shares: its setting, its device, and its record on disk."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ensemble_mtl.core.runtime.this_process import prepare_process

TESTS = Path(__file__).parents[2] / "tests"
EMULATED = "not measured: emulated"
"""Stands where a number would say nothing of a GPU, since a CPU imitates it."""
OPTIONS = ("record", "device", "size", "data", "work", "until")


@dataclass(frozen=True)
class Setting:
    """How a part is run.

    Attributes:
        device: ``cuda``, ``cpu``, or ``emulated``: a CPU that answers as a GPU would.
        full: whether sizes are those of the published studies.
        data: folder of the prepared studies (:mod:`benchmarks.gpu.data`).
        work: folder that the part may fill; it is removed afterwards.
        until: Unix time at which the part is killed.
    """

    device: str
    full: bool
    data: Path
    work: Path
    until: float

    @property
    def emulated(self) -> bool:
        """Whether a CPU imitates the GPU."""
        return self.device == "emulated"

    @property
    def torch_device(self) -> torch.device:
        """Where tensors are."""
        return torch.device("cpu" if self.device == "cpu" else "cuda")

    @property
    def real_gpu(self) -> bool:
        """Whether there is a GPU."""
        return self.device == "cuda"

    def seconds_left(self) -> float:
        """Until the part is killed."""
        return self.until - time.time()


class Record:
    """What a part has measured; each value is on disk as soon as it is known, so that nothing is lost with the part.

    Args:
        path: JSON file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.values = path, dict[str, Any]()

    def __setitem__(self, name: str, value: Any) -> None:
        """Set the value and write the file."""
        self.values[name] = value
        self.write()

    def write(self) -> None:
        """Write the file anew, for values that changed inside."""
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(_plain(self.values), indent=1, allow_nan=False) + "\n")
        os.replace(temporary, self._path)


def _plain(value: Any) -> Any:
    """The same as JSON values; what is not finite becomes text."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def says(error: BaseException) -> str:
    """The error as one line of a table."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]


def main(measure: Callable[[Setting, Record], None]) -> None:
    """Run one part as a process of its own: read the command line, enter the device, measure."""
    parser = argparse.ArgumentParser()
    for option in OPTIONS:
        parser.add_argument(f"--{option}", required=True)
    arguments = parser.parse_args()
    places = Path(arguments.data), Path(arguments.work)
    setting = Setting(arguments.device, arguments.size == "full", *places, float(arguments.until))
    prepare_process()
    _leave_loops_that_are_not_compiled()
    with _emulation() if setting.emulated else contextlib.nullcontext():
        measure(setting, Record(Path(arguments.record)))


def _leave_loops_that_are_not_compiled() -> None:
    """Where numba has a stand-in its loops would take minutes; torch's own operations take their place."""
    with contextlib.suppress(ImportError):  # the part on versions says so
        from ensemble_mtl.models import kernels

        if hasattr(importlib.import_module("numba"), "STAND_IN"):
            kernels.usable = lambda x: False


@contextlib.contextmanager
def _emulation() -> Iterator[None]:
    """The emulated device of the tests."""
    sys.path.insert(0, str(TESTS))
    emulated = importlib.import_module("helpers.emulated_cuda").emulated
    with emulated():
        yield
