"""A Ray cluster of a study's own in an allocation of a real Slurm."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from helpers import mini_slurm
from helpers.batch import BIN, REPOSITORY, Environment, log, write_site
from helpers.namespace import Namespace, missing
from helpers.studies import ENVIRONMENT, Numbers, numbers, wait_until, write
from helpers.system import SLURM, needs
from helpers.traps import set_traps


@needs(*SLURM)
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_ray_has_a_cluster_of_its_own_in_the_allocation(undisturbed: Numbers, tmp_path: Path) -> None:
    """In a namespace, since Ray binds every interface."""
    config, root = write(tmp_path), tmp_path / "studies/tiny"
    set_traps(root / "jobs", tmp_path / "imported")  # where jobs are started
    # d0 is the namespace's link: the name of this machine leads out of it
    given = write_site(tmp_path, scheduler="slurm", nodes=2, time="00:10:00", interface="d0")
    with (
        tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder,
        Namespace(ENVIRONMENT) as space,
    ):
        started = space.call(mini_slurm.SCRIPT, "start", folder)
        assert started.code == 0, started.said()
        words = [BIN / "ensemble-mtl", "submit", config, "--site", given, "--launcher", "ray"]
        inside = {"SLURM_CONF": f"{folder}/slurm.conf"}
        made = space.call(*words, **inside)
        assert made.code == 0, made.said()
        try:
            wait_until(lambda: (root / "report.html").exists(), 900)
        except AssertionError:
            listed = space.call("squeue", "--states=all", **inside).said()
            raise AssertionError(listed + log(root)) from None
        assert numbers(root) == undisturbed
        assert not (tmp_path / "imported").exists()
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
