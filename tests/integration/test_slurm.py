"""Studies on a real Slurm of four virtual nodes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from helpers import batch, mini_slurm
from helpers.batch import BIN, REPOSITORY, SLOW, Environment, jobs, log, submit, wait_for_end, write_site
from helpers.studies import TINY, Numbers, endings, numbers, wait_until, write
from helpers.system import SLURM, needs
from helpers.traps import set_traps

pytestmark = needs(*SLURM)


@pytest.mark.parametrize("launcher", ["array", "mpi"])
def test_study_is_trained_and_gathered_once_at_the_end(
    slurm: Environment, undisturbed: Numbers, slurm_site: Path, tmp_path: Path, launcher: str
) -> None:
    folder = tmp_path / 'it\'s $(touch pwned) "j" #1'
    folder.mkdir()
    config, root = write(folder), folder / "studies/tiny"
    for place in (folder, root, root / "jobs"):  # the last is where jobs are started
        set_traps(place, tmp_path / "imported")
    made = submit(slurm, config, "--site", slurm_site, "--launcher", launcher)
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
    assert not (tmp_path / "imported").exists()


def test_earlier_submission_is_told_of(slurm: Environment, slurm_site: Path, tmp_path: Path) -> None:
    config = write(tmp_path, SLOW)
    first = submit(slurm, config, "--site", slurm_site, "--array-size", 1)
    second = batch.call(slurm, "submit", config, "--site", slurm_site, "--array-size", 1)
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
def test_ready_script_trains_the_study(slurm: Environment, undisturbed: Numbers, tmp_path: Path, name: str) -> None:
    config = write(tmp_path)
    script = REPOSITORY / f"jobs/{name}.sbatch"
    job = mini_slurm.submit(slurm, f"--chdir={tmp_path}", "--cpus-per-task=1", script, config)
    states = mini_slurm.wait_for_job(slurm, job, 240)
    said = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert set(states) == {"COMPLETED"}, said
    assert numbers(tmp_path / "studies/tiny") == undisturbed


def test_refusal_is_passed_on(slurm: Environment, slurm_site: Path, tmp_path: Path) -> None:
    done = batch.call(slurm, "submit", write(tmp_path), "--site", slurm_site, "--partition", "moon")
    assert done.returncode == 2
    assert "sbatch refused: " in done.stderr
    assert "invalid partition" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "studies/tiny/jobs").iterdir())


def test_without_a_controller_status_still_tells_of_members(
    slurm: Environment, slurm_site: Path, tmp_path: Path
) -> None:
    config = write(tmp_path)
    submit(slurm, config, "--site", slurm_site, "--array-size", 1)
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
