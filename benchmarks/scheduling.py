"""The time that launchers add to the training: 84 members of one second on two workers.

Each member is a shard, which is the most work that there can be for a launcher. The commands are those that a user
types, and everything is real but the length of an epoch (``benchmarks/slow_training``). Loading the data, evaluation
and writing the result count as overhead, too. The ideal time is 42 s. The launchers take turns.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ensemble_mtl.core.runtime.provenance import versions

ROUNDS = 3
WORKERS = 2
MEMBERS = 84
IDEAL_SECONDS = MEMBERS / WORKERS
TARGETS = {"local": 1.05, "mpi": 1.05, "ray": 1.15}

CONFIG = """\
name: seconds
data: {name: alloy, num_configurations: 60, seed: 3}
graph: {radius: 6.0, radius_unit: bohr}
tasks:
  H: {target: mixing_enthalpy}
  C: {target: charge_transfer}
  M: {target: magnetic_moment}
seeds: 12
model: {trunk: {conv: pna, layers: 2, width: 4}, heads: [4]}
train: {epochs: 1, batch_size: 16, device: cpu, early_stopping: null}
probes: null
launch: {launcher: {name: local, workers: 2}, members_per_shard: 1}
"""


@dataclass(frozen=True)
class Measured:
    """The times of one run.

    Attributes:
        makespan: seconds from the first member's start to the last one's end.
        command: seconds of the whole command.
        before: seconds of the command until the first member starts.
        member: mean seconds of a member in its worker.
        gap: mean seconds between a member's end and the next one's start in the same worker.
    """

    makespan: float
    command: float
    before: float
    member: float
    gap: float


def run(rounds: int) -> dict[str, str]:
    """Measure all launchers; return file name -> content of the page."""
    # Ray's own cluster has as many workers as there are cores, so all get two
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:WORKERS])
    load = os.getloadavg()[0]  # other work on these cores and this disk counts as overhead too
    runs: dict[str, list[Measured]] = {name: [] for name in TARGETS}
    for _ in range(rounds):
        for name, measured in runs.items():
            measured.append(_measure(name))
    return {"scheduling.md": _table(runs, rounds, load)}


def _measure(launcher: str) -> Measured:
    """Run the study once under a launcher."""
    with tempfile.TemporaryDirectory() as folder:
        root, spans = Path(folder), Path(folder) / "spans"
        spans.mkdir()
        (root / "seconds.yaml").write_text(CONFIG)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parent / "slow_training"),
            "SLOW_EPOCH_SECONDS": "1",
            "SLOW_PER_TASK": "0",
            "SLOW_SPANS": str(spans),
        }
        began, clock = time.time(), time.monotonic()
        done = subprocess.run(_command(launcher, root), env=environment, capture_output=True, text=True, timeout=600)
        command = time.monotonic() - clock
        if done.returncode:
            raise RuntimeError(f"{launcher} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        results = list(root.glob("studies/seconds/members/*/*/result.json"))
        assert len(results) == MEMBERS, f"{launcher}: {len(results)} results"
        by_worker = [_spans(path) for path in sorted(spans.glob("*.jsonl"))]
    assert len(by_worker) == WORKERS, f"{launcher}: {len(by_worker)} workers"
    all_spans = list(itertools.chain.from_iterable(by_worker))
    assert len(all_spans) == MEMBERS
    assert all(end - start >= 1 for start, end in all_spans)
    gaps = [after[0] - before[1] for worker in by_worker for before, after in itertools.pairwise(worker)]
    first_start, last_end = min(start for start, _ in all_spans), max(end for _, end in all_spans)
    return Measured(
        makespan=last_end - first_start,
        command=command,
        before=first_start - began,
        member=statistics.mean(end - start for start, end in all_spans),
        gap=statistics.mean(gaps),
    )


def _spans(path: Path) -> list[tuple[float, float]]:
    """Return start and end of each shard that a worker has trained, as Unix times."""
    lines = map(json.loads, path.read_text().splitlines())
    return sorted((line["start"], line["end"]) for line in lines if line["what"] == "shard")


def _command(launcher: str, root: Path) -> list[str]:
    """Return the command that runs the study under a launcher."""
    python = [sys.executable, "-m"]
    study = ["ensemble_mtl", "run", str(root / "seconds.yaml"), "--no-report", "--launcher", launcher]
    if launcher == "local":
        return [*python, *study, "--set", f"launch.launcher.workers={WORKERS}"]
    if launcher == "mpi":
        beside = Path(sys.executable).parent / "mpiexec"  # that of the package mpich
        mpiexec = str(beside) if beside.exists() else "mpiexec"
        return [mpiexec, "-n", str(WORKERS), *python, "mpi4py", "-m", *study]
    if os.geteuid() or not shutil.which("unshare"):
        return [*python, *study]
    # whatever address Ray's processes bind, nobody outside reaches them, and all end with the command
    private = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]
    return [*private, 'ip link set lo up && "$@"', "private", *python, *study]


def _table(runs_of: dict[str, list[Measured]], rounds: int, load: float) -> str:
    """Return the page with the table, as Markdown."""
    software = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# Scheduling overhead",
        "",
        f"{MEMBERS} members that train for one second, each a shard of its own, on {WORKERS} workers and as many "
        f"cores: {IDEAL_SECONDS:.0f} s would be ideal. Loading data, claims, validation, evaluation and results are "
        f"real, and count as overhead. Means of {rounds} interleaved rounds, range in brackets; load average "
        f"of the machine beforehand {load:.1f}; {software}. Made by "
        "`python -m benchmarks --only scheduling`.",
        "",
        "*Makespan* is from the first member's start to the last one's end. *Command* is all of "
        "`ensemble-mtl run`: preparing the data, starting Python, torch and the launcher, and ending it. *Members' own "
        "time* is what they take in their workers, over the number of workers; what is above it is the launcher's.",
        "",
        "| launcher | makespan / ideal | target | makespan / members' own time | command / ideal "
        "| before the first member [s] | member [s] | between members [ms] |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, runs in runs_of.items():
        ratios = [measured.makespan / IDEAL_SECONDS for measured in runs]
        to_members = [measured.makespan / (MEMBERS * measured.member / WORKERS) for measured in runs]
        commands = [measured.command / IDEAL_SECONDS for measured in runs]
        lines.append(
            f"| {name} | {_range(ratios, 3)} | ≤ {TARGETS[name]} | {_range(to_members, 3)} | {_range(commands, 2)} "
            f"| {_range([measured.before for measured in runs], 1)} | {_range([run.member for run in runs], 3)} "
            f"| {_range([measured.gap * 1000 for measured in runs], 1)} |"
        )
    return "\n".join(lines) + "\n"


def _range(values: list[float], digits: int) -> str:
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"
