"""Studies on a real Slurm of four virtual nodes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import batch
import mini_slurm
import pytest
from batch import BIN, REPOSITORY, SLOW, checkpointed, endings, jobs, paced, submit, wait_for_end, write_site
from namespace import Namespace, missing
from studies import ENVIRONMENT, TINY, call, numbers, wait_until, write

Environment = dict[str, str]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Environment]:
    with mini_slurm.mini_slurm() as environment:
        yield paced({**ENVIRONMENT, **environment, "PATH": f"{BIN}:{environment['PATH']}"})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the local launcher finds."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert call("run", write(folder), "--no-report").returncode == 0
    return numbers(folder / "studies/tiny")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path, scheduler="slurm", nodes=2, time="00:10:00")


def log(root: Path) -> str:
    return "".join(path.read_text() for path in sorted((root / "jobs").glob("*.log")))


@pytest.mark.parametrize("launcher", ["array", "mpi"])
def test_study_is_trained_and_gathered_once_at_the_end(
    slurm: Environment, undisturbed: Any, site: Path, tmp_path: Path, launcher: str
) -> None:
    folder = tmp_path / 'it\'s $(touch pwned) "j" #1'
    folder.mkdir()
    config, root = write(folder), folder / "studies/tiny"
    made = submit(slurm, config, "--site", site, "--launcher", launcher)
    assert jobs(slurm, config)[made["gather"]]["state"] == "PENDING"
    config.write_text(TINY.replace("seeds: 2", "seeds: 5"))  # changes no job that is submitted
    wait_until(lambda: (root / "summary.json").exists(), 240)
    config.write_text(TINY)
    found = wait_for_end(slurm, config)
    assert all(row["state"].endswith("COMPLETED") for row in found.values()), found
    assert numbers(root) == undisturbed, log(root)
    assert (root / "report.html").exists()
    assert log(root).count("report.html") == 1
    assert endings(root) == [1] * 6
    assert not list(tmp_path.rglob("pwned"))


def test_time_limit_checkpoints_and_requeues(slurm: Environment, tmp_path: Path) -> None:
    config, root = write(tmp_path, SLOW.replace("epochs: 150", "epochs: 100000")), tmp_path / "studies/tiny"
    # the signal comes 25 s after the start, or up to half a minute off, which is how often Slurm looks
    slow = write_site(tmp_path, scheduler="slurm", time="00:02:00", signal_seconds=95, max_requeues=1)
    made = submit(slurm, config, "--site", slow, "--array-size", 1)
    wait_until(lambda: "requeued: stopped with checkpoints" in log(root), 180)
    wait_until(lambda: bool(checkpointed(root)), 120)  # on a busy machine the first signal comes before the first epoch
    wait_until(lambda: "giving up after 1 restarts: stopped with checkpoints" in log(root), 180)
    found = wait_for_end(slurm, config)
    assert found[made["job"]]["restarts"] == 1
    assert found[made["gather"]]["state"] == "FAILED", "there is nothing to gather yet"
    assert "no member has been trained yet" in log(root)


@pytest.mark.parametrize("launcher", ["array", "mpi"])
def test_requeued_job_completes(slurm: Environment, site: Path, tmp_path: Path, launcher: str) -> None:
    config, root = write(tmp_path, SLOW), tmp_path / "studies/tiny"
    made = submit(slurm, config, "--site", site, "--launcher", launcher)
    wait_until(lambda: bool(checkpointed(root)))
    mini_slurm.ask(slurm, "scancel", "--batch", "--signal=USR1", made["job"])  # as near the limit
    wait_until(lambda: "requeued: stopped with checkpoints" in log(root))
    assert not (root / "summary.json").exists(), "gathers before the end"
    found = wait_for_end(slurm, config)
    assert found[made["job"]]["restarts"] >= 1
    assert all(row["state"].endswith("COMPLETED") for row in found.values()), log(root)
    assert endings(root) == [1] * 6
    assert json.loads((root / "summary.json").read_text())["missing"] == []


def test_killed_rank_and_lost_node_are_survived(slurm: Environment, site: Path, tmp_path: Path) -> None:
    config, root = write(tmp_path, SLOW), tmp_path / "studies/tiny"
    made = submit(slurm, config, "--site", site, "--launcher", "mpi")

    def restarts() -> int:
        found: int = jobs(slurm, config)[made["job"]]["restarts"]
        return found

    wait_until(lambda: bool(checkpointed(root)))
    rank = json.loads(next(root.glob("members/*/*/running.json")).read_text())["pid"]
    os.kill(rank, signal.SIGKILL)
    wait_until(lambda: restarts() == 1)
    wait_until(lambda: jobs(slurm, config)[made["job"]]["state"] == "RUNNING")
    nodes = mini_slurm.ask(slurm, "squeue", "--noheader", f"--jobs={made['job']}", "--format=%N").strip()
    node = mini_slurm.ask(slurm, "scontrol", "show", "hostnames", nodes).split()[-1]
    mini_slurm.ask(slurm, "scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        wait_until(lambda: restarts() == 2)
        found = wait_for_end(slurm, config, 400)
    finally:
        # it comes back by itself as soon as it is heard of, and then this fails
        words = ["scontrol", "update", f"nodename={node}", "state=resume"]
        subprocess.run(words, env=slurm, capture_output=True, timeout=60)
    assert [row["state"] for row in found.values()] == ["COMPLETED", "COMPLETED"], log(root)
    assert endings(root) == [1] * 6
    assert "requeued: ended by exit code 137" in log(root)


@pytest.mark.parametrize("launcher", ["array", "mpi"])
def test_cancelled_jobs_checkpoint_and_stay_away(slurm: Environment, site: Path, tmp_path: Path, launcher: str) -> None:
    config, root = write(tmp_path, SLOW), tmp_path / "studies/tiny"
    made = submit(slurm, config, "--site", site, "--launcher", launcher, "--nodes", 1)
    again = batch.call(slurm, "submit", config, "--site", site, "--launcher", launcher, "--dry-run")
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


def test_earlier_submission_is_told_of(slurm: Environment, site: Path, tmp_path: Path) -> None:
    config = write(tmp_path, SLOW)
    first = submit(slurm, config, "--site", site, "--array-size", 1)
    second = batch.call(slurm, "submit", config, "--site", site, "--array-size", 1)
    assert f"job {first['job']} of this study waits or runs already" in second.stderr
    assert len(jobs(slurm, config)) == 4
    assert batch.call(slurm, "cancel", config).returncode == 0
    wait_for_end(slurm, config)


@pytest.mark.parametrize("launcher", ["array", "mpi", "ray"])
def test_slurm_takes_every_script(slurm: Environment, tmp_path: Path, launcher: str) -> None:
    options = {"name": "slurm", "mail_type": "END", "mail_user": "nobody", "mem": "100M", "exclusive": True}
    gpus = write_site(tmp_path, scheduler=options, nodes=2, gpus_per_node=2, queue="batch", time="00:10:00")
    for given in (gpus, REPOSITORY / "hpc/sites/laptop.yaml"):
        asked = ("submit", write(tmp_path), "--site", given, "--launcher", launcher)
        scripts = json.loads(batch.call(slurm, *asked, "--dry-run", "--json").stdout)
        assert len(scripts) == 2
        for name, text in scripts.items():
            (tmp_path / name).write_text(text)
            mini_slurm.ask(slurm, "sbatch", "--test-only", tmp_path / name)
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize("script", sorted(REPOSITORY.glob("jobs/*.sbatch")), ids=lambda path: path.name)
def test_slurm_takes_the_ready_scripts(slurm: Environment, script: Path) -> None:
    mini_slurm.ask(slurm, "sbatch", "--test-only", "--cpus-per-task=1", script)


@pytest.mark.parametrize("name", ["slurm-array", "slurm-mpi"])
def test_ready_script_trains_the_study(slurm: Environment, undisturbed: Any, tmp_path: Path, name: str) -> None:
    config = write(tmp_path)
    script = REPOSITORY / f"jobs/{name}.sbatch"
    job = mini_slurm.submit(slurm, f"--chdir={tmp_path}", "--cpus-per-task=1", script, config)
    states = mini_slurm.wait_for_job(slurm, job, 240)
    said = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert set(states) == {"COMPLETED"}, said
    assert numbers(tmp_path / "studies/tiny") == undisturbed


def test_refusal_is_passed_on(slurm: Environment, site: Path, tmp_path: Path) -> None:
    done = batch.call(slurm, "submit", write(tmp_path), "--site", site, "--partition", "moon")
    assert done.returncode == 2
    assert "sbatch refused: " in done.stderr
    assert "invalid partition" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "studies/tiny/jobs").iterdir())


@pytest.mark.skipif(bool(missing()), reason=missing())
def test_ray_has_a_cluster_of_its_own_in_the_allocation(undisturbed: Any, tmp_path: Path) -> None:
    """In a namespace, since Ray binds every interface."""
    config, root = write(tmp_path), tmp_path / "studies/tiny"
    # d0 is the namespace's link: the name of this machine leads out of it
    given = write_site(tmp_path, scheduler="slurm", nodes=2, time="00:10:00", interface="d0")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, Namespace(ENVIRONMENT) as space:
        started = space.call(mini_slurm.SCRIPT, "start", folder)
        assert started.code == 0, started.said()
        words = [BIN / "ensemble-mtl", "submit", config, "--site", given, "--launcher", "ray"]
        inside = {"SLURM_CONF": f"{folder}/slurm.conf"}
        made = space.call(*words, **inside)
        assert made.code == 0, made.said()
        try:
            wait_until(lambda: (root / "report.html").exists(), 240)
        except AssertionError:
            listed = space.call("squeue", "--states=all", **inside).said()
            raise AssertionError(listed + log(root)) from None
        assert numbers(root) == undisturbed
        status = space.call(BIN / "ensemble-mtl", "status", config, **inside).said()
        assert status.count("COMPLETED") >= 1
        _ready_ray_script(space, tmp_path / "ready", inside)
        assert numbers(tmp_path / "ready/studies/tiny") == undisturbed


def _ready_ray_script(space: Namespace, folder: Path, inside: Environment) -> None:
    folder.mkdir()
    words = ["sbatch", "--wait", f"--chdir={folder}", "--cpus-per-task=2", REPOSITORY / "jobs/slurm-ray.sbatch"]
    path = f"{BIN}:{ENVIRONMENT['PATH']}"
    done = space.call(*words, write(folder), **inside, INTERFACE="d0", PATH=path)
    said = "".join(file.read_text() for file in folder.glob("*.log"))
    assert done.code == 0, done.said() + said


def test_without_a_controller_status_still_tells_of_members(slurm: Environment, site: Path, tmp_path: Path) -> None:
    config = write(tmp_path)
    submit(slurm, config, "--site", site, "--array-size", 1)
    wait_for_end(slurm, config)
    there = Path(slurm["SLURM_CONF"]).read_text()
    (tmp_path / "slurm.conf").write_text(re.sub(r"SlurmctldPort=\d+", "SlurmctldPort=9", there))
    lost = {**slurm, "SLURM_CONF": str(tmp_path / "slurm.conf")}
    done = subprocess.run(
        [BIN / "ensemble-mtl", "status", config, "--json"], env=lost, capture_output=True, text=True, timeout=120
    )
    told = json.loads(done.stdout)
    assert told["done"] == 6
    assert [row["state"] for row in told["jobs"]] == ["unknown", "unknown"]
    assert all("squeue" in row["reason"] for row in told["jobs"])
