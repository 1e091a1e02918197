"""At least fifty kills at random: every member ends exactly once, bit for bit as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from helpers import chaos
from helpers.namespace import Namespace, missing
from helpers.studies import ENVIRONMENT, call, command, numbers, results, wait_until, weights, write

from ensemble_mtl.launch.ray.environment import QUIET

KILLS = 50
STORM = f"import runpy, sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); "
STORM += "runpy.run_module('helpers.chaos', run_name='__main__')"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's directory after a run without disturbance."""
    config = write(tmp_path_factory.mktemp("undisturbed"), chaos.STUDY)
    done = call("run", config, "--no-report")
    assert done.returncode == 0, done.stderr
    return config.parent / "studies/tiny"


def same(root: Path, undisturbed: Path) -> None:
    assert len(results(root)) == 12
    assert numbers(root) == numbers(undisturbed)
    assert weights(root) == weights(undisturbed)
    leftovers = [path.name for path in root.rglob("*") if path.name.endswith(".damaged")]
    assert not leftovers, "a kill left a damaged file under a final name"


def test_mpi(tmp_path: Path, undisturbed: Path) -> None:
    config, root = write(tmp_path, chaos.STUDY), tmp_path / "studies/tiny"
    mpiexec = [shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"), "-n", "2"]
    run = [*mpiexec, sys.executable, "-m", "mpi4py", *command("run", config, "--no-report", "--launcher", "mpi")[1:]]
    killed = chaos.through_the_storm(root, run, KILLS, seed=2)
    assert killed.total() >= KILLS
    assert killed["trainer"] >= 3
    same(root, undisturbed)


@pytest.mark.skipif(bool(missing()), reason=missing())
def test_ray(tmp_path: Path, undisturbed: Path) -> None:
    config, root = write(tmp_path, chaos.STUDY), tmp_path / "studies/tiny"
    run = command("run", config, "--no-report", "--launcher", "ray")
    # a short folder, for the names of sockets; what Ray writes for its user goes there too
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder,
        Namespace({**ENVIRONMENT, "HOME": folder}) as space,
    ):
        variables = {**QUIET, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": "127.0.0.1:6379"}
        ray = [Path(sys.executable).parent / "ray", "start", "--head", "--block", "--num-cpus=2", "--port=6379"]
        ray += ["--node-ip-address=127.0.0.1", "--include-dashboard=false", "--object-store-memory=80000000"]
        space.start(*ray, f"--temp-dir={folder}/t", **variables)
        wait_until(lambda: space.call("sh", "-c", "ss -ltn | grep -q :6379").code == 0, every=0.5)
        storm = [sys.executable, "-c", STORM, root, KILLS, 3, *run]
        done = space.call(*storm, seconds=3600, **variables)
        assert done.code == 0, done.said()
        killed = json.loads(done.said().splitlines()[-1])
    assert sum(killed.values()) >= KILLS
    assert killed["launcher"] >= 3
    same(root, undisturbed)


def test_local(tmp_path: Path, undisturbed: Path) -> None:
    config, root = write(tmp_path, chaos.STUDY), tmp_path / "studies/tiny"
    killed = chaos.through_the_storm(root, command("run", config, "--no-report"), KILLS, seed=1)
    assert killed.total() >= KILLS
    assert killed["launcher"] >= 3
    same(root, undisturbed)
