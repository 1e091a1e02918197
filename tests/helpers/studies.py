"""A small real study, the command line as a user calls it, and processes that are killed on the way."""

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

from ensemble_mtl.study.attempts import AttemptEvent, Phase

TINY = """\
name: tiny
data: {name: alloy, num_configurations: 60, seed: 3}
graph: {radius: 6.0, radius_unit: bohr, periodic: true}
tasks:
  H: {target: mixing_enthalpy}
  M: {target: magnetic_moment}
seeds: 2
model: {trunk: {conv: gin, layers: 2, width: 4}, heads: [4]}
train: {epochs: 3, batch_size: 64, dtype: float64, device: cpu, early_stopping: null}
probes: {epochs: [0, end], graphs: 8, trace_samples: 3, lanczos_steps: 4}
launch: {launcher: {name: local, workers: 2}}
report: {figures: none}
"""
"""A study of three subsets (HM, H, M) and two seeds: six members, seconds of work."""

LONG = TINY.replace("epochs: 3,", "epochs: 60, checkpoint_seconds: 0.2,").replace("seeds: 2", "seeds: 3")
"""A study of nine members that train long enough to be killed on the way, with frequent checkpoints."""

PACE = Path(__file__).parents[2] / "benchmarks/slow_training"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PACE), "SLOW_EPOCH_SECONDS": "0.01"}
"""Environment in which an epoch lasts 0.01 s per member and task, mostly asleep, so that a training which a test
disturbs takes about as long whatever else runs on the machine."""


def write(folder: Path, text: str = TINY) -> Path:
    """Write a configuration into ``folder``, and return its path; the study directory is ``folder/studies/tiny``."""
    path = folder / "tiny.yaml"
    path.write_text(text)
    return path


def command(*arguments: object) -> list[str]:
    """Return the command ``ensemble-mtl`` with these arguments."""
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
    """Return what ``status --json`` prints."""
    report: dict[str, Any] = json.loads(call("status", config, "--json").stdout)
    return report


def wait_until(condition: Callable[[], bool], seconds: float = 600, every: float = 0.05) -> None:
    """Wait until the condition holds, for at most ``seconds``; it is asked ``every`` so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(every)


def children(process: int) -> list[int]:
    """Return the process numbers of a process's children."""
    try:
        return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []  # it has ended


def workers(launcher: int) -> list[int]:
    """Return the process numbers of the local launcher's workers, which are forked from a child of it."""
    return [worker for child in children(launcher) for worker in children(child)]


def alive(pid: int) -> bool:
    """Return whether there is such a process that has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def trainers(root: Path, waited_for: str = "running.json") -> set[int]:
    """Return the numbers of processes that hold unfinished members with the file ``waited_for``.

    A process may be dead already, since its claim stays.
    """
    pids = set()
    for path in root.glob(f"members/*/*/{waited_for}"):
        try:
            if not (path.parent / "result.json").exists():
                pids.add(int(json.loads((path.parent / "running.json").read_text())["pid"]))
        except OSError:
            continue  # the training has just ended
    return pids


def trainer(root: Path, waited_for: str = "running.json") -> int:
    """Wait until a member has the file ``waited_for``, and return the number of the process that trains it."""
    pids: set[int] = set()
    wait_until(lambda: bool(pids.update(trainers(root, waited_for)) or pids))
    return pids.pop()


def kill_trainer(
    root: Path,
    waited_for: str = "checkpoint.pt",
    kill: Callable[[int, signal.Signals], object] = os.kill,
    living: Callable[[int], bool] = alive,
    running: Callable[[], bool] = lambda: True,
) -> None:
    """Wait for a process that trains a member, and kill it while it surely trains: it is stopped for the check.

    Args:
        root: the study directory.
        waited_for: name of a file that its member must have.
        kill: sends a signal to a process.
        living: returns whether a process is alive.
        running: returns whether the run still goes on.
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
    """Kill a process that :func:`start` started, and all of its group."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def results(root: Path) -> dict[str, Path]:
    """Return member id -> result file."""
    return {path.parent.name: path for path in root.glob("members/*/*/result.json")}


def events(root: Path) -> list[list[AttemptEvent]]:
    """Return the events of each member's ``attempts.jsonl``, in the order of the members' folders."""
    files = [path.read_bytes().splitlines() for path in sorted(root.glob("members/*/*/attempts.jsonl"))]
    return [[event for event in map(AttemptEvent.from_line, lines) if event] for lines in files]


def starts(root: Path) -> list[list[int | None]]:
    """Return, for each member, the epochs at which its training began or went on."""
    return [[event.epoch for event in member if event.phase is Phase.TRAINING] for member in events(root)]


def endings(root: Path) -> list[int]:
    """Return how often each member has finished."""
    return [sum(event.phase is Phase.FINISHED for event in member) for member in events(root)]


Numbers = dict[str, Any]
"""Member id -> the numbers of its result."""


def numbers(root: Path) -> Numbers:
    """Return the numbers of each member's result, but for times."""
    by_member = {}
    for name, path in results(root).items():
        record = json.loads(path.read_text())
        probes = [{k: v for k, v in probe.items() if not k.endswith("seconds")} for probe in record["probes"]]
        by_member[name] = (record["metrics"], record["epochs"], record["best_epoch"], probes)
    return by_member


def weights(root: Path) -> dict[str, str]:
    """Return member id -> digest of its final state: last and best weights, buffers, moments of the optimiser."""
    import torch

    digests = {}
    for name, path in results(root).items():
        tensors = torch.load(path.parent / "checkpoint.pt", weights_only=True)["tensors"]
        digest = hashlib.sha256()
        for key in sorted(tensors):
            if key not in ("seconds", "stack_seconds"):
                digest.update(key.encode() + tensors[key].contiguous().numpy().tobytes())
        digests[name] = digest.hexdigest()
    return digests
