"""Studies on four MPI ranks, started by a real ``mpiexec``, undisturbed and disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.studies import (
    ENVIRONMENT,
    TINY,
    alive,
    call,
    children,
    endings,
    kill_trainer,
    numbers,
    results,
    starts,
    trainer,
    wait_until,
    weights,
    write,
)

MPIEXEC = Path(sys.executable).parent / "mpiexec"
LONG = (
    TINY.replace("epochs: 3,", "epochs: 40, checkpoint_seconds: 0.2,")
    .replace("seeds: 2", "seeds: 3")
    .replace("launch: {", "launch: {members_per_shard: 1, ")
)
"""Nine members of a shard each, which train long enough to be killed on the way."""
RANKS = 4


def mpi(config: Path, num_ranks: int = RANKS, runner: tuple[str, ...] = ("-m", "mpi4py")) -> list[str]:
    command = [MPIEXEC, "-n", num_ranks, sys.executable, *runner, "-m", "ensemble_mtl"]
    return [*map(str, command), "run", str(config), "--launcher", "mpi", "--no-report"]


@contextmanager
def started(command: list[str], **variables: str) -> Iterator[subprocess.Popen[str]]:
    """The running job; whatever is left of it afterwards is killed."""
    environment = {**ENVIRONMENT, **variables}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )
    ranks: set[int] = set()
    try:
        yield process
    finally:
        ranks = _descendants(process.pid)
        for pid in (process.pid, *ranks):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def _descendants(pid: int) -> set[int]:
    found = children(pid)
    return set(found).union(*map(_descendants, found)) if found else set()


def finish(command: list[str], seconds: float = 600, **variables: str) -> tuple[int, str]:
    """Exit code and output of the whole job."""
    with started(command, **variables) as job:
        output, _ = job.communicate(timeout=seconds)
        return job.returncode, output


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the study, run by the local launcher without disturbance."""
    config = write(tmp_path_factory.mktemp("undisturbed"), LONG)
    done = call("run", config, "--no-report")
    assert done.returncode == 0, done.stderr
    return config.parent / "studies/tiny"


def assert_complete(root: Path, reference: Path) -> None:
    """Every member ended once, with the numbers of the undisturbed local run, bit for bit."""
    assert len(results(root)) == 9
    assert numbers(root) == numbers(reference)
    assert weights(root) == weights(reference)
    assert max(endings(root)) <= 1  # one may be killed before it tells of its end


def test_four_ranks_find_the_same_numbers_as_the_local_launcher(tmp_path: Path, undisturbed: Path) -> None:
    config, root = write(tmp_path, LONG), tmp_path / "studies/tiny"
    seen = set()
    with started(mpi(config)) as job:
        while job.poll() is None:
            for claim in root.glob("members/*/*/running.json"):
                try:
                    seen.add(json.loads(claim.read_text())["pid"])
                except (OSError, ValueError):
                    continue  # it has just ended
            time.sleep(0.05)
        output = job.stdout.read() if job.stdout else ""
    assert job.returncode == 0, output
    assert len(seen) == RANKS, "not all ranks took part"
    assert_complete(root, undisturbed)


def test_an_mpi_without_threads_serves_between_epochs(tmp_path: Path, undisturbed: Path) -> None:
    config = write(tmp_path, LONG)
    code, output = finish(mpi(config, num_ranks=2), MPI4PY_RC_THREADS="0")
    assert code == 0, output
    assert_complete(tmp_path / "studies/tiny", undisturbed)


def test_a_rank_killed_ends_the_job_and_the_next_run_does_the_rest(tmp_path: Path, undisturbed: Path) -> None:
    config, root = write(tmp_path, LONG), tmp_path / "studies/tiny"
    with started(mpi(config), SLOW_EPOCH_SECONDS="0.03") as job:
        wait_until(lambda: len(results(root)) >= 1)
        ranks = _descendants(job.pid)
        kill_trainer(root, running=lambda: job.poll() is None)
        output, _ = job.communicate(timeout=300)
        assert job.returncode not in (0, 99), output
        wait_until(lambda: not any(alive(pid) for pid in ranks), 60)
    before = {name: path.stat().st_mtime_ns for name, path in results(root).items()}
    assert 1 <= len(before) < 9
    code, output = finish(mpi(config, num_ranks=2))
    assert code == 0, output
    after = {name: path.stat().st_mtime_ns for name, path in results(root).items()}
    assert {name: after[name] for name in before} == before
    assert any(epoch for epochs in starts(root) for epoch in epochs), "nothing was resumed from a checkpoint"
    assert_complete(root, undisturbed)


def test_a_request_to_stop_checkpoints_all_ranks(tmp_path: Path, undisturbed: Path) -> None:
    config, root = write(tmp_path, LONG), tmp_path / "studies/tiny"
    for receiver in ("one rank", "mpiexec"):
        with started(mpi(config, num_ranks=2)) as job:
            one = trainer(root, "metrics.jsonl")
            os.kill(job.pid if receiver == "mpiexec" else one, signal.SIGUSR1)
            output, _ = job.communicate(timeout=300)
        assert job.returncode == 99, output
        assert output.count("stopped and checkpointed") == 1
        assert "BAD TERMINATION" not in output
        assert "Abort" not in output
        assert not list(root.glob("members/*/*/running.json"))
    code, output = finish(mpi(config, num_ranks=2))
    assert code == 0, output
    assert_complete(root, undisturbed)


FAULT = """\
import os
if os.environ.get("PMI_RANK") == "2":
    from ensemble_mtl.worker import shard
    def fault(*arguments):
        raise {error}
    shard.train_shard = fault
"""
"""A module that Python imports as it starts, and that breaks one rank."""


@pytest.mark.parametrize("runner", [("-m", "mpi4py"), ()], ids=["with -m mpi4py", "without"])
@pytest.mark.parametrize(
    ("error", "expected", "told"),
    [
        ("RuntimeError('this rank is broken')", 1, "RuntimeError: this rank is broken"),
        ("OSError(28, 'No space left on device', 'x.json')", 2, "error: [Errno 28] No space left on device: 'x.json'"),
    ],
)
def test_a_fault_on_one_rank_ends_the_job(
    tmp_path: Path, runner: tuple[str, ...], error: str, expected: int, told: str
) -> None:
    config = write(tmp_path, LONG)
    (tmp_path / "sitecustomize.py").write_text(FAULT.format(error=error))
    code, output = finish(mpi(config, num_ranks=3, runner=runner), PYTHONPATH=str(tmp_path))
    assert code == expected, output
    assert "rank 2 of 3 on " in output
    assert output.count(told) == 1
    assert ("Traceback" in output) == (expected == 1)


SIGNALLED = """\
import os, signal, threading, time
if os.environ.get("PMI_RANK") == "{rank}":
    from ensemble_mtl.worker import shard
    def signals():
        while True:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.02)
    def fault(*arguments):
        threading.Thread(target=signals, daemon=True).start()
        raise RuntimeError("this rank is broken")
    shard.train_shard = fault
"""
"""Breaks one rank, and asks it to stop from then on, as a launcher does when another rank has ended."""


@pytest.mark.parametrize("rank", [0, 2])
def test_a_request_to_stop_does_not_hide_the_fault(tmp_path: Path, rank: int) -> None:
    config = write(tmp_path, LONG)
    (tmp_path / "sitecustomize.py").write_text(SIGNALLED.format(rank=rank))
    code, output = finish(mpi(config, num_ranks=3), PYTHONPATH=str(tmp_path))
    assert code == 1, output
    assert f"rank {rank} of 3 on " in output
    assert output.count("RuntimeError: this rank is broken") == 1


def test_a_mistake_that_all_ranks_meet_is_told_once(tmp_path: Path) -> None:
    config = write(tmp_path, LONG.replace("seeds: 3", "seeds: many"))
    code, output = finish(mpi(config))
    assert code == 2, output
    assert output.count("error: ") == 1, output
    assert "seeds" in output
    assert "Abort" not in output


def test_a_mistake_that_one_rank_meets_ends_the_job(tmp_path: Path) -> None:
    config = write(tmp_path, LONG)
    others, odd = mpi(config, num_ranks=2), mpi(tmp_path / "missing.yaml", num_ranks=1)
    code, output = finish([*others, ":", *odd[1:]])
    assert code == 2, output
    assert output.count("error: ") == 1, output
    assert "missing.yaml" in output


def test_a_fault_of_the_data_is_told_once(tmp_path: Path) -> None:
    config = write(tmp_path, LONG.replace("{name: alloy, num_configurations: 60, seed: 3}", "{name: lsms, path: none}"))
    code, output = finish(mpi(config, num_ranks=2))
    assert code == 2, output
    assert output.count("error: ") == 1, output
    assert "Abort" not in output


@pytest.mark.parametrize(
    ("variables", "told"),
    [({}, "started alone"), ({"SLURM_NTASKS": "4"}, "got 1 process(es) in this MPI job, expected 4 (SLURM_NTASKS)")],
)
def test_a_process_alone_is_refused(tmp_path: Path, variables: dict[str, str], told: str) -> None:
    config = write(tmp_path, LONG)
    alone = mpi(config)[3:]
    code, output = finish(alone, **variables)
    assert code == 2, output
    assert told in output
    assert not (tmp_path / "studies").exists()


def test_without_mpi4py_it_says_what_to_install(tmp_path: Path) -> None:
    config = write(tmp_path, LONG)
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py/__init__.py").write_text("raise ImportError('there is none')")
    done = [sys.executable, "-m", "ensemble_mtl", "run", str(config), "--launcher", "mpi"]
    code, output = finish(done, PYTHONPATH=str(tmp_path))
    assert code == 2, output
    assert "pip install 'ensemble-mtl[mpi]'" in output


def test_no_epoch_is_begun_after_the_end_of_the_allocation(tmp_path: Path) -> None:
    config = write(tmp_path, LONG)
    code, output = finish(mpi(config, num_ranks=2), ENSEMBLE_MTL_DEADLINE="1000000000")
    assert code == 99, output
    assert not list((tmp_path / "studies/tiny").glob("members/*/*/metrics.jsonl"))


JOINED = r"""\
import os
from ensemble_mtl.launch.mpi import world as mpi_world

def noted(load=mpi_world.load):
    global before
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    return load()

mpi_world.load, mpi_world.gpus_of_host = noted, lambda: ["0", "1"]
world = mpi_world.join("auto")
os.write(1, f"rank {world.rank} {before} {os.environ['CUDA_VISIBLE_DEVICES']}\n".encode())
world.leave()
"""


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ["rank 0 0 0", "rank 1 1 1", "rank 2 0 0"]),  # two GPUs for three ranks
        ({"MPI_LOCALRANKID": ""}, ["rank 0 None 0", "rank 1 None 1", "rank 2 None 0"]),
        (
            {"MPI_LOCALRANKID": "", "SLURM_LOCALID": "1"},
            ["rank 0 1 0", "rank 1 1 1", "rank 2 1 0"],
        ),  # a job's, not theirs
    ],
)
def test_ranks_are_bound_before_mpi_looks_for_gpus(variables: dict[str, str], expected: list[str]) -> None:
    """To what the launcher says of their place on the host, and in the end to what their place is."""
    replaced = ["env", *(f"{name}={value}" for name, value in variables.items())]
    code, output = finish([str(MPIEXEC), "-n", "3", *replaced, sys.executable, "-m", "mpi4py", "-c", JOINED])
    assert code == 0, output
    assert sorted(line for line in output.splitlines() if line.startswith("rank")) == expected
