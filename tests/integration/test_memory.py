"""Members that do not fit into memory together are trained in halves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from helpers import studies

WIDE = """\
name: tiny
data: {name: alloy, num_configurations: 60, seed: 3}
graph: {radius: 6.0, radius_unit: bohr, periodic: true}
tasks: {H: {target: mixing_enthalpy}}
seeds: 8
model: {trunk: {conv: gin, layers: 6, width: 256}, heads: [4]}
train: {epochs: 2, batch_size: 64, device: cpu, early_stopping: null}
probes: null
launch: {members_per_shard: 8}
"""

SHARD = """\
import os, resource, signal, sys
from pathlib import Path
from ensemble_mtl.config.file import load
from ensemble_mtl.data.prepare import prepare
from ensemble_mtl.models import kernels
from ensemble_mtl.study.directory import Study
from ensemble_mtl.worker import grouping, shard, stack
from ensemble_mtl.worker.context import Supervisor

def killed(*arguments):  # as the system does that is short of memory
    os.kill(os.getpid(), signal.SIGKILL)

def limited(*arguments):
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[3]) * 2**20, resource.RLIM_INFINITY))
    try:
        return epoch(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

kernels.load()  # libraries take memory, too
epoch, stack.run_epoch = stack.run_epoch, limited
if sys.argv[3] == "killed":
    grouping.losses_and_gradient, grouping.MIN_STEPS_FOR_TRIAL = killed, 0
study = Study(load(Path(sys.argv[1])), Path(sys.argv[2]))
study.root.mkdir(exist_ok=True)
prepare(study, lambda done, total: None)
shard.train_shard(study, study.plan(), Supervisor(print, lambda: False))
"""
"""Its epochs, and nothing else, may take so many MiB more than the process has; or it is killed at its first step."""

HEAP = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}
"""What is freed goes back to the system at once, and nothing is set aside that could help out later."""


def train(config: Path, out: Path, memory: int | str, code: int = 0) -> str:
    """What the process tells."""
    line = [sys.executable, "-c", SHARD, str(config), str(out), str(memory)]
    done = subprocess.run(line, capture_output=True, text=True, env={**studies.ENVIRONMENT, **HEAP}, timeout=300)
    assert done.returncode == code, done.stderr
    return done.stdout


def results(study: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in study.glob("members/*/*/result.json")}


def test_a_stack_is_halved_until_it_fits(tmp_path):
    config = studies.write(tmp_path, WIDE)
    train(config, tmp_path / "all", 10_000)
    said = train(config, tmp_path / "short", 60)
    assert "{'event': 'shortage', 'error': '8 members need more memory than there is; on with 4'}" in said
    whole, short = results(tmp_path / "all"), results(tmp_path / "short")
    assert len(whole) == len(short) == 8
    assert {found["stack_size"] for found in whole.values()} == {8}
    assert max(found["stack_size"] for found in short.values()) < 8
    assert all(short[member]["metrics"] == whole[member]["metrics"] for member in whole)
    logs = [path.read_text() for path in tmp_path.glob("short/members/*/*/log.txt")]
    assert all("8 members need more memory than there is; on with 4" in text for text in logs)


def test_a_stack_whose_first_step_kills_the_process_is_halved_the_next_time(tmp_path):
    config, study = studies.write(tmp_path, WIDE), tmp_path / "study"
    for _ in range(2):
        train(config, study, "killed", code=-signal.SIGKILL)
        for path in study.glob("members/*/*/log.txt"):  # which is for people, and decides nothing
            path.write_text(path.read_text() + "a person's remark\n")
    assert not results(study)
    train(config, study, 10_000)
    assert sorted(found["stack_size"] for found in results(study).values()) == [2] * 8


def test_a_member_that_does_not_fit_alone_fails_with_a_message(tmp_path):
    config = studies.write(tmp_path, WIDE)
    out = train(config, tmp_path / "study", 1)
    assert "a single member needs more memory than there is" in out
    failures = [json.loads(path.read_text()) for path in tmp_path.glob("study/members/*/*/failed.json")]
    assert len(failures) == 8
    assert not any(failure["traceback"] for failure in failures)
