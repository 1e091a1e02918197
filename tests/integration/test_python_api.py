"""Whole studies from a script, which has no ``if __name__ == "__main__"``, and from ``python -c``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.studies import ENVIRONMENT, LONG, TINY, Numbers, numbers, results, status, wait_until, write

RUN = """
import json
import ensemble_mtl as em

print("the script begins", flush=True)
study = em.load_study("tiny.yaml")
events = []
outcome = em.run(study, observe=events.append, say=print)
print(json.dumps([outcome, sorted({event["event"] for event in events})]), flush=True)
"""


def python(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def last_line(done: subprocess.CompletedProcess[str]) -> list[object]:
    assert done.returncode == 0, done.stderr
    line: list[object] = json.loads(done.stdout.splitlines()[-1])
    return line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that a script without a guard has run."""
    folder = tmp_path_factory.mktemp("script")
    write(folder)
    (folder / "script.py").write_text(RUN)
    done = python(folder, "script.py")
    assert last_line(done) == ["complete", ["done", "epoch", "prepared", "reading", "training"]]
    assert done.stdout.count("the script begins") == 1
    assert "tiny: training 6 of 6 members" in done.stdout
    assert "the script begins" not in "".join(path.read_text() for path in (folder / "studies/tiny/logs").iterdir())
    return folder


def test_a_script_trains_the_numbers_of_the_command_line(folder: Path, undisturbed: Numbers) -> None:
    assert numbers(folder / "studies/tiny") == undisturbed
    assert status(folder / "tiny.yaml")["done"] == 6


def test_a_second_run_trains_nothing_also_without_a_script(folder: Path) -> None:
    done = python(folder, "-c", RUN)
    assert last_line(done) == ["complete", ["prepared"]]
    assert "all 6 members are done already" in done.stdout


def test_gathering_and_measuring_from_python(folder: Path) -> None:
    code = """
import json
import ensemble_mtl as em
import torch

threads = torch.get_num_threads()
study = em.load_study("studies/tiny")
member = study.plan()[0]
measured = em.measure_curvature(study, member, tasks=["M"])
last = [probe for probe in em.probes(study, member) if probe.task == "M"][-1]
summary = em.gather(study)
em.write_summary(study, summary)
page = em.write_report(study, summary)
try:
    em.measure_curvature(study, member, overrides=["train.epochs=4"])
except em.EnsembleMTLError as error:
    refused = type(error).__name__
print(json.dumps([
    measured.probes[0].trace == last.trace, torch.get_num_threads() == threads, summary.complete,
    page.exists(), (study.root / "summary.json").exists(), refused,
]))
"""
    assert last_line(python(folder, "-c", code)) == [True, True, True, True, True, "ConfigError"]


def test_some_members_only(tmp_path: Path) -> None:
    write(tmp_path)
    code = RUN.replace("em.run(study,", "em.run(study, members=study.plan()[-2:], launcher='local',")
    assert last_line(python(tmp_path, "-c", code))[0] == "complete"
    assert {path.parent.parent.name for path in results(tmp_path / "studies/tiny").values()} == {"M"}


def test_members_that_fail_are_told_and_are_the_outcome(tmp_path: Path) -> None:
    write(tmp_path, TINY.replace("{epochs: 3,", "{epochs: 3, optimizer: {name: adam, lr: 1.0e+200},"))
    done = python(tmp_path, "-c", RUN)
    outcome, events = last_line(done)
    assert outcome == "members failed"
    assert "failed" in events
    assert "failed: " in done.stdout


def test_a_script_that_is_stopped_checkpoints_and_goes_on(tmp_path: Path) -> None:
    write(tmp_path, LONG.replace("epochs: 60", "epochs: 2000"))
    (tmp_path / "script.py").write_text(RUN)
    running = subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    wait_until(lambda: any((tmp_path / "studies/tiny").glob("members/*/*/checkpoint.pt")))
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=120)
    assert running.returncode == 0
    assert json.loads(out.splitlines()[-1])[0] == "stopped"
    assert "stopping: workers checkpoint after their present epoch" in out


def test_ranks_of_an_mpi_job_run_one_script(tmp_path: Path, undisturbed: Numbers) -> None:
    write(tmp_path)
    (tmp_path / "script.py").write_text(RUN.replace("em.run(study,", "em.run(study, launcher='mpi',"))
    mpiexec = Path(sys.executable).parent / "mpiexec"
    done = subprocess.run(
        [mpiexec, "-n", "2", sys.executable, "-m", "mpi4py", "script.py"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcomes = [json.loads(line)[0] for line in done.stdout.splitlines() if line.startswith("[")]
    assert sorted(outcomes) == ["complete", "served"]
    assert numbers(tmp_path / "studies/tiny") == undisturbed
