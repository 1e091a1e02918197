"""Time limits, requeues, deaths and cancellation on a real Slurm of four virtual nodes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from helpers import batch, mini_slurm
from helpers.batch import SLOW, Environment, checkpointed, endings, jobs, log, submit, wait_for_end, write_site
from helpers.studies import kill_trainer, wait_until, write
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


def test_killed_rank_and_lost_node_are_survived(slurm: Environment, tmp_path: Path) -> None:
    config, root = write(tmp_path, SLOW), tmp_path / "studies/tiny"
    # half a minute after a node failure the old srun may still end what has started anew under its step's number
    site = write_site(tmp_path, scheduler="slurm", nodes=2, time="00:10:00", max_requeues=9)
    made = submit(slurm, config, "--site", site, "--launcher", "mpi")

    def restarts() -> int:
        found: list[int] = []

        def told() -> bool:
            number = jobs(slurm, config)[made["job"]]["restarts"]
            found.extend([] if number is None else [number])  # None: the scheduler did not answer
            return bool(found)

        wait_until(told, every=1.0)
        return found[0]

    wait_until(lambda: bool(checkpointed(root)))
    kill_trainer(root)
    wait_until(lambda: restarts() >= 1, every=1.0)
    wait_until(lambda: jobs(slurm, config)[made["job"]]["state"] == "RUNNING", every=3.0)
    nodes = mini_slurm.ask(slurm, "squeue", "--noheader", f"--jobs={made['job']}", "--format=%N").strip()
    node = mini_slurm.ask(slurm, "scontrol", "show", "hostnames", nodes).split()[-1]
    before = restarts()
    mini_slurm.ask(slurm, "scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        wait_until(lambda: restarts() > before, every=1.0)
        found = wait_for_end(slurm, config)
    finally:
        # it comes back by itself as soon as it is heard of, and then this fails
        words = ["scontrol", "update", f"nodename={node}", "state=resume"]
        subprocess.run(words, env=slurm, capture_output=True, timeout=60)
    assert [row["state"] for row in found.values()] == ["COMPLETED", "COMPLETED"], log(root)
    assert max(endings(root)) == 1  # one may be killed before it tells of its end
    assert "requeued: ended by exit code 137" in log(root)


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
