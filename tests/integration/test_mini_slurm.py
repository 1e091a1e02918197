"""``hpc/mini-slurm``: a Slurm that schedules, and of which nothing is left behind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import mini_slurm
from helpers.studies import alive, wait_until
from helpers.system import SLURM, needs

pytestmark = needs(*SLURM)


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    with mini_slurm.mini_slurm() as environment:
        yield environment


def test_four_nodes_are_idle(slurm: dict[str, str]) -> None:
    found = mini_slurm.ask(slurm, "sinfo", "--noheader", "--Node", "--format=%N %t %c %G").splitlines()
    assert found == [f"n{node} idle 2 gpu:2" for node in range(1, 5)]


def test_job_runs_on_the_nodes_it_asked_for(slurm: dict[str, str], tmp_path: Path) -> None:
    job = mini_slurm.submit(slurm, "--nodes=2", f"--output={tmp_path}/out", "--wrap", "srun printenv SLURMD_NODENAME")
    assert mini_slurm.wait_for_job(slurm, job) == ["COMPLETED"]
    assert sorted((tmp_path / "out").read_text().split()) == ["n1", "n2"]


def test_failed_job_is_seen_as_failed(slurm: dict[str, str], tmp_path: Path) -> None:
    job = mini_slurm.submit(slurm, f"--output={tmp_path}/out", "--wrap", "exit 3")
    assert mini_slurm.wait_for_job(slurm, job) == ["FAILED"]


def test_every_element_of_an_array_runs_once(slurm: dict[str, str], tmp_path: Path) -> None:
    job = mini_slurm.submit(
        slurm, "--array=0-6%4", f"--output={tmp_path}/%a", "--wrap", "echo element $SLURM_ARRAY_TASK_ID"
    )
    assert mini_slurm.wait_for_job(slurm, job) == ["COMPLETED"] * 7
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {str(i): f"element {i}\n" for i in range(7)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the device files that Slurm wants")
def test_jobs_on_one_node_get_different_gpus(slurm: dict[str, str], tmp_path: Path) -> None:
    together = (
        f"touch {tmp_path}/step-$SLURM_STEP_ID; until [ $(ls {tmp_path}/step-* | wc -l) = 2 ]; do sleep 0.1; done"
    )
    step = f"echo $CUDA_VISIBLE_DEVICES; {together}"
    job = mini_slurm.submit(
        slurm,
        "--nodelist=n1",
        "--ntasks=2",
        f"--output={tmp_path}/out",
        "--gpus-per-task=1",
        "--wrap",
        f"for i in 1 2; do srun --ntasks=1 --gres=gpu:1 --exact sh -c '{step}' & done; wait",
    )
    assert mini_slurm.wait_for_job(slurm, job) == ["COMPLETED"]
    assert sorted((tmp_path / "out").read_text().split()) == ["0", "1"]


def test_second_start_finds_it_running_and_another_runs_beside_it(slurm: dict[str, str]) -> None:
    folder = str(Path(slurm["SLURM_CONF"]).parent)
    assert "runs already" in mini_slurm.control("start", folder)
    with mini_slurm.mini_slurm(nodes=1, gpus=0) as other:
        assert mini_slurm.ask(other, "sinfo", "--noheader", "--format=%D %t").split() == ["1", "idle"]
        assert mini_slurm.ask(slurm, "sinfo", "--noheader", "--format=%D %t").split() == ["4", "idle"]


def test_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    done = subprocess.run([mini_slurm.SCRIPT, "start", tmp_path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "neither empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("controller_dies_first", [False, True])
def test_stop_leaves_no_process_and_no_job(tmp_path: Path, controller_dies_first: bool) -> None:
    script = "trap '' TERM; sleep 600 & echo $$ $!; wait"  # a job that does not want to end
    with mini_slurm.mini_slurm(nodes=2) as slurm:
        folder = Path(slurm["SLURM_CONF"]).parent
        mini_slurm.submit(slurm, f"--output={tmp_path}/out", "--wrap", script)
        wait_until(lambda: (tmp_path / "out").exists() and len((tmp_path / "out").read_text().split()) == 2)
        job = [int(pid) for pid in (tmp_path / "out").read_text().split()]
        daemons = [int(path.read_text()) for path in folder.glob("*.pid")]
        assert len(daemons) == 3
        assert all(alive(pid) for pid in daemons + job)
        if controller_dies_first:
            os.kill(int((folder / "slurmctld.pid").read_text()), 9)
        mini_slurm.control("stop", str(folder))
        assert not any(alive(pid) for pid in daemons + job)
