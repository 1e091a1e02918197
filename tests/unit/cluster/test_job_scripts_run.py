"""What job scripts do when they run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers.submissions import HOSTILE, request, text

from ensemble_mtl.cluster.jobs import LAUNCHERS
from ensemble_mtl.config import registry


class Bench:
    """Runs a rendered script with stubs in place of Python and of the scheduler's commands."""

    def __init__(self, folder: Path, scheduler: str, launcher: str, body: str, study: str = "study") -> None:
        self.folder, self.scheduler = folder, scheduler
        self.stub("scontrol", 'printf "%s\\n" "$@" >>"$LOG/scontrol"; exit 1')  # else the script waits for its end
        for name in ("srun", "mpiexec"):
            self.stub(name, 'while [ "${1##*/}" != python ]; do shift; done; exec "$@"')
        self.stub(
            "python", f'printf "%s\\0" "$@" >"$LOG/python"; echo "$ENSEMBLE_MTL_DEADLINE" >"$LOG/deadline"; {body}'
        )
        python = str(folder / "bin/python")
        self.submission = request(folder / study, launcher, scheduler=scheduler, python=python, name="it-1")
        self.jobs = folder / study / "jobs"
        (self.jobs / "it-1").mkdir(parents=True)
        self.script = self.jobs / "it-1.sh"
        self.script.write_text(text(self.submission))

    def stub(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o700)

    def start(self, **environment: str) -> subprocess.Popen[str]:
        variables = {"SLURM_JOB_ID": "7", "LSB_JOBID": "7", "LSB_JOBINDEX": "2", "SLURM_ARRAY_TASK_ID": "2"}
        variables |= {"SLURM_ARRAY_JOB_ID": "6"} if self.submission.launcher == "array" else {}
        variables |= {"PATH": f"{self.folder}/bin:/usr/bin:/bin", "LOG": str(self.folder), **environment}
        return subprocess.Popen(
            ["bash", self.script],
            env=variables,
            cwd=self.jobs,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, **environment: str) -> tuple[int, str]:
        process = self.start(**environment)
        out, _ = process.communicate(timeout=60)
        return process.returncode, out + "".join(path.read_text() for path in self.jobs.glob("*.log"))

    def logged(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("scheduler", registry.names("cluster"))
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("word", HOSTILE, ids=repr)
def test_hostile_names_stay_data(tmp_path: Path, scheduler: str, launcher: str, word: str) -> None:
    study = word.replace("/", "_")
    bench = Bench(tmp_path, scheduler, launcher, "exit 0", study)
    code, out = bench.run()
    assert code == 0, out
    words = bench.logged("python").split("\0")
    assert str(tmp_path / study / "jobs/it-1/study.yaml") in words
    assert words[words.index("--out") + 1] == str(tmp_path / study)
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("scheduler", registry.names("cluster"))
@pytest.mark.parametrize("code", [0, 1, 2, 3, 126, 127])
def test_what_has_ended_is_not_requeued(tmp_path: Path, scheduler: str, code: int) -> None:
    bench = Bench(tmp_path, scheduler, "mpi", f"exit {code}")
    assert bench.run()[0] == code
    assert not bench.logged("scontrol")
    assert not list(bench.jobs.glob("it-1/restarts*"))


@pytest.mark.parametrize("end", ["exit 99", "exit 137", "kill -KILL $$", "exit 255"])
def test_slurm_requeues_what_was_stopped_or_killed(tmp_path: Path, end: str) -> None:
    bench = Bench(tmp_path, "slurm", "mpi", end)
    _, out = bench.run(SLURM_RESTART_COUNT="2")
    assert bench.logged("scontrol").split() == ["requeue", "7"]
    assert "ensemble-mtl: requeued: " in out


def test_slurm_requeues_one_element_and_not_the_array(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "slurm", "array", "exit 99")
    bench.run()
    assert bench.logged("scontrol").split() == ["requeue", "6_2"]
    assert bench.logged("python").split("\0")[-3:-1] == ["--part", "2/21"]


@pytest.mark.parametrize("end", ["exit 99", "exit 137", "kill -KILL $$"])
def test_lsf_runs_again_by_exit_code(tmp_path: Path, end: str) -> None:
    bench = Bench(tmp_path, "lsf", "array", end)
    assert [bench.run()[0] for _ in range(4)] == [99, 99, 99, 1]
    assert "giving up after 3 restarts" in bench.run()[1]


def test_slurm_gives_up_after_the_last_restart(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "slurm", "mpi", "exit 99")
    code, out = bench.run(SLURM_RESTART_COUNT="3")
    assert code == 1
    assert "giving up after 3 restarts: stopped with checkpoints" in out
    assert not bench.logged("scontrol")


@pytest.mark.parametrize("scheduler", registry.names("cluster"))
def test_cancelled_is_not_requeued(tmp_path: Path, scheduler: str) -> None:
    bench = Bench(tmp_path, scheduler, "mpi", "exit 99")
    (bench.jobs / "it-1/cancelled").touch()
    code, out = bench.run()
    assert code == 1
    assert "cancelled, so not requeued" in out
    assert not bench.logged("scontrol")


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"waited in vain for {path}"
        time.sleep(0.02)


TRAINER = (
    'trap "echo asked >$LOG/asked; exit 99" USR1; trap "" TERM; touch $LOG/up; for i in {1..600}; do sleep 0.1; done'
)


def test_slurm_passes_the_signal_on_and_requeues(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "slurm", "mpi", TRAINER)
    process = bench.start()
    try:
        wait_for(tmp_path / "up")
        process.send_signal(signal.SIGTERM)  # which every process gets from Slurm: not passed on
        time.sleep(0.3)
        assert process.poll() is None
        assert not bench.logged("asked")
        process.send_signal(signal.SIGUSR1)
        out, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert bench.logged("asked")
    assert "requeued: stopped with checkpoints" in out


def test_lsf_outlives_its_signals(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "lsf", "mpi", TRAINER)
    process = bench.start()
    try:
        wait_for(tmp_path / "up")
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)
        time.sleep(0.3)
        assert process.poll() is None
        child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
        os.kill(int(child), signal.SIGUSR1)
        process.communicate(timeout=30)
        assert process.returncode == 99
    finally:
        process.kill()


def test_deadline_is_the_schedulers_or_else_the_limit(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "slurm", "mpi", "exit 0")
    before = time.time()
    bench.run()
    assert before + 3599 <= float(bench.logged("deadline")) <= time.time() + 3601
    bench.run(SLURM_JOB_END_TIME="12345")
    assert bench.logged("deadline") == "12345\n"
