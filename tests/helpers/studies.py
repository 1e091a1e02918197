"""A small real study, and the command line as a user calls it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TINY = """\
name: tiny
data: {name: alloy, num_configurations: 60, seed: 3}
graph: {radius: 6.0, radius_unit: bohr, periodic: true}
tasks:
  H: {target: mixing_enthalpy}
  M: {target: magnetic_moment}
seeds: 2
model: {conv: gin, layers: 2, width: 4, heads: [4]}
train: {epochs: 3, batch_size: 64, dtype: float64, device: cpu, early_stopping: null}
probes: {epochs: [0, end], graphs: 8, trace_samples: 3, lanczos_steps: 4}
launch: {launcher: {name: local, workers: 2}}
report: {figures: none}
"""
"""Three subsets (HM, H, M) of two seeds: six members, seconds of work."""

LONG = TINY.replace("epochs: 3,", "epochs: 60, checkpoint_seconds: 0.2,").replace("seeds: 2", "seeds: 3")
"""Nine members that train long enough to be killed on the way, with frequent checkpoints."""

PACE = Path(__file__).parents[2] / "benchmarks/slow_training"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PACE), "SLOW_EPOCH_SECONDS": "0.01"}
"""An epoch lasts 0.01 s per member and task, mostly asleep: what a test disturbs takes as long whatever else runs."""


def write(folder: Path, text: str = TINY) -> Path:
    """The configuration in ``folder``; its study directory is ``folder/studies/tiny``."""
    path = folder / "tiny.yaml"
    path.write_text(text)
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "ensemble_mtl", *map(str, arguments)]


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``ensemble-mtl`` to its end."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, env=ENVIRONMENT, timeout=300)


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start ``ensemble-mtl`` in the background, in a process group of its own."""
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )


def status(config: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(call("status", config, "--json").stdout)
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 600, every: float = 0.05) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(every)


def children(process: int) -> list[int]:
    """Process numbers of its children."""
    try:
        return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []  # it has ended


def workers(launcher: int) -> list[int]:
    """Process numbers of the local launcher's workers, which are forked from a child of it."""
    return [worker for child in children(launcher) for worker in children(child)]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def trainers(root: Path, waited_for: str = "running.json") -> set[int]:
    """Process numbers of those that train members which have the file ``waited_for``; a claim may be a dead one's."""
    found = set()
    for path in root.glob(f"members/*/*/{waited_for}"):
        try:
            if not (path.parent / "result.json").exists():
                found.add(int(json.loads((path.parent / "running.json").read_text())["pid"]))
        except OSError:
            continue  # it has just ended
    return found


def trainer(root: Path, waited_for: str = "running.json") -> int:
    """Wait until some member has the file ``waited_for``; the process that trains this member."""
    found: set[int] = set()
    wait_until(lambda: bool(found.update(trainers(root, waited_for)) or found))
    return found.pop()


def kill_trainer(
    root: Path,
    waited_for: str = "checkpoint.pt",
    kill: Callable[[int, signal.Signals], object] = os.kill,
    living: Callable[[int], bool] = alive,
    running: Callable[[], bool] = lambda: True,
) -> None:
    """Wait for one that trains, and kill it, when it surely has not finished in the meantime.

    Args:
        root: the study directory.
        waited_for: a file of its member.
        kill: sends a signal.
        living: whether there is such a process.
        running: whether the run still goes on.
    """

    def killed() -> bool:
        assert running(), "the run has ended"
        for pid in filter(living, trainers(root, waited_for)):
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGSTOP)
            trains = pid in trainers(root, waited_for)
            kill(pid, signal.SIGKILL if trains else signal.SIGCONT)
            if trains:
                return True
        return False

    wait_until(killed)


def kill_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def results(root: Path) -> dict[str, Path]:
    """Member id -> its result file."""
    return {path.parent.name: path for path in root.glob("members/*/*/result.json")}


Numbers = dict[str, Any]
"""Member id -> what training found."""


def numbers(root: Path) -> Numbers:
    """What training found, member by member, without what a clock found."""
    found = {}
    for name, path in results(root).items():
        record = json.loads(path.read_text())
        probes = [{k: v for k, v in probe.items() if not k.endswith("seconds")} for probe in record["probes"]]
        found[name] = (record["metrics"], record["epochs"], record["best_epoch"], probes)
    return found


def weights(root: Path) -> dict[str, str]:
    """Member id -> digest of its final state: last and best weights, buffers, moments of the optimiser."""
    import torch

    found = {}
    for name, path in results(root).items():
        tensors = torch.load(path.parent / "checkpoint.pt", weights_only=True)["tensors"]
        digest = hashlib.sha256()
        for key in sorted(tensors):
            if key not in ("seconds", "stack_seconds"):
                digest.update(key.encode() + tensors[key].contiguous().numpy().tobytes())
        found[name] = digest.hexdigest()
    return found
