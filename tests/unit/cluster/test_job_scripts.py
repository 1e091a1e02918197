"""What job scripts say.

``ENSEMBLE_MTL_GOLDEN=write pytest tests/unit/cluster/test_job_scripts.py`` renews the golden files.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from helpers.submissions import HOSTILE, request, text
from helpers.system import skip_without

from ensemble_mtl.cluster import submissions
from ensemble_mtl.cluster.jobs import LAUNCHERS, default_elements, gathering
from ensemble_mtl.config import registry

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parent / "golden"
SITES = sorted((ROOT / "hpc/sites").glob("*.yaml"))


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("profile", ["laptop", "lsf", "summit", "perlmutter"])
def test_script_is_the_golden_one(profile: str, launcher: str) -> None:
    for name, script in submissions.scripts(request(Path("/studies/quickstart"), launcher, profile=profile)).items():
        if name.endswith(".gather.sh") and launcher != "array":
            continue  # the same but for its name
        path = GOLDEN / f"{profile}-{name}"
        if os.environ.get("ENSEMBLE_MTL_GOLDEN") == "write":
            path.write_text(script)
        assert path.read_text() == script


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_script_is_short_and_clean_shell(path: Path, launcher: str, tmp_path: Path) -> None:
    submission = request(tmp_path / "it's here", launcher, profile=path.stem)
    files = []
    for name, script in submissions.scripts(submission).items():
        assert len(script.splitlines()) < 60
        files.append(tmp_path / name)
        files[-1].write_text(script)
        subprocess.run(["bash", "-n", files[-1]], check=True)
    skip_without("shellcheck")
    subprocess.run(["shellcheck", "--exclude=SC1091", *files], check=True)


def test_script_is_a_pure_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submission = request(tmp_path / "study", "mpi", scheduler="slurm")
    first = text(submission)
    monkeypatch.chdir("/")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert text(submission) == first
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("scheduler", registry.names("cluster"))
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_no_word_makes_a_directive(scheduler: str, launcher: str) -> None:
    plain = text(request(Path("/studies/x"), launcher, scheduler=scheduler))
    for word in HOSTILE:
        settings = {"python": word, "environment": {"X": word}, "mpi": (word,), "per_node": (word,)}
        settings = {key: value for key, value in settings.items() if "{" not in word or key not in ("mpi", "per_node")}
        hostile = text(request(Path(f"/studies/{word}"), launcher, scheduler=scheduler, **settings))
        assert [line for line in hostile.splitlines() if line.startswith(("#SBATCH", "#BSUB"))] == [
            line for line in plain.splitlines() if line.startswith(("#SBATCH", "#BSUB"))
        ]


def test_every_directive_is_allowed_for() -> None:
    """A site's options all reach the script."""
    slurm = {
        "name": "slurm",
        "qos": "q",
        "constraint": "gpu&hbm",
        "reservation": "r",
        "licenses": "l:1",
        "exclude": "n1",
    }
    slurm |= {"mem": "4G", "core_spec": 8, "mail_user": "a@b.c", "mail_type": "END", "exclusive": True, "gpus": "gres"}
    settings = {"scheduler": slurm, "account": "acc", "queue": "part", "gpus_per_node": 2, "cpus_per_node": 4}
    script = text(request(Path("/s"), "mpi", **settings))
    for line in (
        "qos=q",
        "constraint=gpu&hbm",
        "reservation=r",
        "licenses=l:1",
        "exclude=n1",
        "mem=4G",
        "core-spec=8",
        "mail-user=a@b.c",
        "mail-type=END",
        "exclusive",
        "gres=gpu:2",
        "account=acc",
        "partition=part",
        "ntasks-per-node=2",
        "cpus-per-task=2",
    ):
        assert f"\n#SBATCH --{line}\n" in script
    lsf = {"name": "lsf", "resources": "rusage[mem=4GB]", "reservation": "r", "hosts": "h1", "mail_user": "a@b.c"}
    settings |= {"scheduler": {**lsf, "exclusive": True}}
    script = text(request(Path("/s"), "mpi", **settings))
    for line in (
        'R "rusage[mem=4GB]"',
        'U "r"',
        'm "h1"',
        'u "a@b.c"',
        "x",
        'gpu "num=2"',
        'P "acc"',
        'q "part"',
        "n 4",
    ):
        assert f"\n#BSUB -{line}\n" in script


def test_array_has_a_small_shard_for_each_worker_and_obeys_the_cap() -> None:
    assert default_elements(request(Path("/s"), "array", scheduler="slurm")) == 21  # 7 subsets of 12: 21 stacks of 4
    assert default_elements(request(Path("/s"), "array", scheduler="slurm", cpus_per_node=4)) == 6
    assert default_elements(request(Path("/s"), "array", scheduler="slurm", max_array=5)) == 5
    assert "#SBATCH --array=1-21\n" in text(request(Path("/s"), "array", scheduler="slurm"))
    assert "#SBATCH --array=1-21%3\n" in text(request(Path("/s"), "array", scheduler="slurm", nodes=3))
    assert '[1-21]%3"\n' in text(request(Path("/s"), "array", scheduler="lsf", nodes=3))


def test_array_element_is_taken_to_its_node_where_the_site_says_how() -> None:
    script = text(request(Path("/s"), "array", profile="summit"))
    assert "\njsrun -n 1 -r 1 -a 1 -c 42 -g 6 -b none /venv/bin/python -P -m ensemble_mtl run" in script


def test_gather_job_is_one_process_that_is_not_requeued(tmp_path: Path) -> None:
    submission = request(tmp_path, "mpi", profile="perlmutter", time="00:10:00")
    job = gathering(submission)
    assert (job.nodes, job.tasks_per_node, job.gpus_per_node, job.time) == (1, 1, 1, "00:10:00")
    script = submission.scheduler.render(job)
    assert "requeue" not in script
    assert "exec /venv/bin/python -P -m ensemble_mtl report" in script
