"""Time limits, requeues, deaths and cancellation on a real Slurm of four virtual nodes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers import batch, mini_slurm
from helpers.batch import SLOW, Environment, checkpointed, jobs, log, submit, wait_for_end, write_site
from helpers.studies import alive, endings, kill_trainer, wait_until, write
from helpers.system import SLURM, needs

pytestmark = needs(*SLURM)


def test_time_limit_checkpoints_and_requeues(slurm: Environment, tmp_path: Path) -> None:
    config, root = write(tmp_path, SLOW.replace("epochs: 150", "epochs: 100000")), tmp_path / "studies/tiny"
    site = write_site(tmp_path, scheduler="slurm", time="00:30:00", signal_seconds=95, max_requeues=1)
    made = submit(slurm, config, "--site", site, "--array-size", 1)
    wait_until(lambda: bool(checkpointed(root)))
    # the limit comes near only now; Slurm looks every half a minute, and may signal a minute early
    elapsed = mini_slurm.ask(slurm, "squeue", "--noheader", f"--jobs={made['job']}", "--format=%M").strip()
    minutes = int(elapsed.split(":")[-2]) + 2
    mini_slurm.ask(slurm, "scontrol", "update", f"JobId={made['job']}", f"TimeLimit={minutes}")
    wait_until(lambda: "requeued: stopped with checkpoints" in log(root))
    # by the same limit, of which there is so little that the signal may come before Python listens
    wait_until(lambda: "giving up after 1 restarts: " in log(root), 60 * minutes + 300)
    assert re.search(r"giving up after 1 restarts: (stopped with checkpoints|ended by exit code 138)", log(root))
    found = wait_for_end(slurm, config)
    assert found[made["job"]]["restarts"] == 1
    assert found[made["gather"]]["state"] == "FAILED", "there is nothing to gather yet"
    assert f"no member is finished yet ({len(checkpointed(root))} checkpointed)" in log(root)


@pytest.mark.parametrize("launcher", ["array", "mpi"])
def test_requeued_job_completes(slurm: Environment, slurm_site: Path, tmp_path: Path, launcher: str) -> None:
    config, root = write(tmp_path, SLOW), tmp_path / "studies/tiny"
    made = submit(slurm, config, "--site", slurm_site, "--launcher", launcher)
    wait_until(lambda: bool(checkpointed(root)))
    mini_slurm.ask(slurm, "scancel", "--batch", "--signal=USR1", made["job"])  # as near the limit
    wait_until(lambda: "requeued: stopped with checkpoints" in log(root))
    assert not (root / "summary.json").exists(), "gathers before the end"
    found = wait_for_end(slurm, config)
    assert found[made["job"]]["restarts"] >= 1
    assert all(row["state"].endswith("COMPLETED") for row in found.values()), log(root)
    assert endings(root) == [1] * 6
    assert json.loads((root / "summary.json").read_text())["missing"] == []


def restarts(slurm: Environment, config: Path, job: str) -> int:
    """How often the job was requeued; waits until the scheduler answers."""
    answers: list[int | None] = []

    def answered() -> bool:
        answers.append(jobs(slurm, config)[job]["restarts"])
        return answers[-1] is not None

    wait_until(answered, every=1.0)
    return answers[-1] or 0


def rank_of(pid: int) -> int:
    variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return int(next(text for text in variables if text.startswith("PMI_RANK=")).partition("=")[2])


def test_killed_ranks_and_a_lost_node_are_survived(slurm: dict[str, str], tmp_path: Path) -> None:
    config, root = write(tmp_path, SLOW), tmp_path / "studies/tiny"
    site = write_site(tmp_path, scheduler="slurm", nodes=2, time="00:10:00")
    job = submit(slurm, config, "--site", site, "--launcher", "mpi")["job"]
    for victim in ("lead", "follower"):
        former = restarts(slurm, config, job)
        kill_trainer(root, living=lambda pid, lead=victim == "lead": alive(pid) and (rank_of(pid) == 0) == lead)
        wait_until(lambda former=former: restarts(slurm, config, job) > former, every=1.0)
    # of all that ends in the wake of the kill, by other signals and by faults, nothing hides it
    assert re.findall("ensemble-mtl: (.*)", log(root)) == ["requeued: ended by exit code 137"] * 2
    wait_until(lambda: jobs(slurm, config)[job]["state"] == "RUNNING", every=3.0)
    nodes = mini_slurm.ask(slurm, "squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()
    node = mini_slurm.ask(slurm, "scontrol", "show", "hostnames", nodes).split()[-1]
    with mini_slurm.lost_node(slurm, node):
        wait_until(lambda: restarts(slurm, config, job) > 2, every=1.0)
        found = wait_for_end(slurm, config)
    assert [row["state"] for row in found.values()] == ["COMPLETED", "COMPLETED"], log(root)
    assert max(endings(root)) == 1  # one may be killed before it tells of its end


@pytest.mark.parametrize("launcher", ["array", "mpi"])
def test_cancelled_jobs_checkpoint_and_stay_away(
    slurm: Environment, slurm_site: Path, tmp_path: Path, launcher: str
) -> None:
    config, root = write(tmp_path, SLOW), tmp_path / "studies/tiny"
    made = submit(slurm, config, "--site", slurm_site, "--launcher", launcher, "--nodes", 1)
    again = batch.call(slurm, "submit", config, "--site", slurm_site, "--launcher", launcher, "--dry-run")
    assert f"##### tiny-{launcher}-2.sh" in again.stdout
    wait_until(lambda: bool(checkpointed(root)))
    done = batch.call(slurm, "cancel", config)
    assert f"cancelled job {made['gather']}, {made['job']}" in done.stdout, done.stderr
    found = wait_for_end(slurm, config)
    assert "cancelled, so not requeued: stopped with checkpoints" in log(root)
    assert all("COMPLETED" not in row["state"] for row in found.values())
    assert checkpointed(root)
    assert not list(root.glob("members/*/*/running.json"))
    assert not (root / "summary.json").exists()
    assert "no job of this study waits or runs" in batch.call(slurm, "cancel", config).stdout
