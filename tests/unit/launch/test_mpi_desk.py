"""The MPI launcher without MPI: who gets which GPU, what is a wrong start, who gets which shard."""

from pathlib import Path
from typing import Any

import pytest

from ensemble_mtl.launch import gpus
from ensemble_mtl.launch.base import Shard
from ensemble_mtl.launch.gpus import gpu_of
from ensemble_mtl.launch.mpi.desk import Desk
from ensemble_mtl.launch.mpi.start import wrong_start
from ensemble_mtl.study.plan import Member

CUDA, HIP = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"


@pytest.mark.parametrize(
    ("local_rank", "environment", "host", "expected"),
    [
        (0, {}, [], {}),
        (1, {}, ["0", "1", "2"], {CUDA: "1"}),
        (3, {}, ["0", "1", "2"], {CUDA: "0"}),  # more ranks than GPUs share them
        (1, {CUDA: "4,GPU-1f2e"}, ["0"], {CUDA: "GPU-1f2e"}),
        (2, {CUDA: "3"}, ["0", "1", "2", "3"], {CUDA: "3"}),  # the scheduler has bound this rank already
        (1, {CUDA: ""}, ["0", "1"], {}),  # none is to be used
        (1, {HIP: "2,5"}, [], {HIP: "5"}),
    ],
)
def test_gpu_by_local_rank(local_rank: int, environment: dict[str, str], host: list[str], expected: Any) -> None:
    assert gpu_of(local_rank, environment, host) == expected


@pytest.mark.parametrize(
    ("size", "environment"),
    [
        (4, {"PMI_SIZE": "4"}),
        (1, {"PMI_SIZE": "1"}),  # mpiexec -n 1
        (4, {"OMPI_COMM_WORLD_SIZE": "4"}),
        (4, {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}),
        (3, {"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "3"}),  # a step of a part of the job
        (8, {"PMI_SIZE": "8", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}),  # mpiexec inside a Slurm job
        (2, {}),
    ],
)
def test_right_starts(size: int, environment: dict[str, str]) -> None:
    assert wrong_start(size, environment) == ""


@pytest.mark.parametrize(
    ("size", "environment", "told"),
    [
        (1, {}, "started alone; start it with `mpiexec -n 4 python -P -m mpi4py"),
        (1, {"SLURM_NTASKS": "4"}, "got 1 process(es) in this MPI job, expected 4 (SLURM_NTASKS).*srun --mpi=pmi2"),
        (1, {"PMI_SIZE": "4"}, "expected 4 (PMI_SIZE)"),
        (1, {"OMPI_COMM_WORLD_SIZE": "2"}, "expected 2 (OMPI_COMM_WORLD_SIZE)"),
        (2, {"SLURM_STEP_NUM_TASKS": "4"}, "got 2 process(es) in this MPI job, expected 4 (SLURM_STEP_NUM_TASKS)"),
    ],
)
def test_wrong_starts_are_named(size: int, environment: dict[str, str], told: str) -> None:
    found = wrong_start(size, environment)
    assert all(part in found for part in told.split(".*")), found


class Ranks:
    """Ranks that note what they are sent."""

    def __init__(self, num_shards: int, num_ranks: int) -> None:
        shards = [Shard((Member(f"m{n}", ("H",), n, 0, 1.0),)) for n in range(num_shards)]
        self.sent: list[tuple[int, dict[str, Any]]] = []
        self.observed: list[dict[str, Any]] = []
        self.desk = Desk(shards, range(num_ranks), lambda *sent: self.sent.append(sent), self.observed.append)
        self.desk.give()

    def say(self, rank: int, event: str) -> None:
        self.desk.take(rank, {"event": event})
        self.desk.give()


def test_a_rank_gets_the_next_shard_when_it_is_free() -> None:
    ranks = Ranks(num_shards=4, num_ranks=2)
    assert [rank for rank, _ in ranks.sent] == [0, 1]
    ranks.say(1, "idle")
    ranks.say(1, "idle")
    assert [rank for rank, _ in ranks.sent] == [0, 1, 1, 1]
    ranks.say(1, "idle")
    assert not ranks.desk.over
    ranks.say(0, "idle")
    assert ranks.desk.over
    assert ranks.desk.complete
    assert len({message["members"][0] for _, message in ranks.sent}) == 4


def test_one_rank_that_is_asked_to_stop_stops_all() -> None:
    ranks = Ranks(num_shards=4, num_ranks=2)
    ranks.say(1, "asked")
    assert ranks.sent[2:] == [(0, {"stop": True}), (1, {"stop": True})]
    assert ranks.observed == [{"event": "stopping", "killed": False}]
    ranks.say(0, "stopped")
    ranks.say(1, "idle")  # it had just finished
    assert len(ranks.sent) == 4, "a shard was given out after the request to stop"
    assert ranks.desk.over
    assert not ranks.desk.complete


def test_a_rank_without_time_for_another_epoch_does_not_stop_the_others() -> None:
    ranks = Ranks(num_shards=4, num_ranks=2)
    ranks.say(0, "stopped")
    for _ in range(3):
        assert not ranks.desk.over
        ranks.say(1, "idle")
    assert [rank for rank, _ in ranks.sent] == [0, 1, 1, 1]
    assert ranks.desk.over
    assert not ranks.desk.complete


def test_without_free_ranks_it_is_over() -> None:
    ranks = Ranks(num_shards=4, num_ranks=2)
    ranks.say(0, "stopped")
    ranks.say(1, "stopped")
    assert ranks.desk.over
    assert not ranks.desk.complete


def test_other_events_are_passed_on() -> None:
    ranks = Ranks(num_shards=1, num_ranks=1)
    ranks.say(0, "done")
    assert ranks.observed == [{"event": "done"}]
    assert not ranks.desk.over


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([], []),
        (["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"], ["0", "1"]),
        (["nvidia3", "nvidiactl"], ["0"]),  # a container's
        (["dri/renderD128"], []),  # a display
        (["kfd", "dri/renderD128", "dri/renderD129"], ["0", "1"]),
    ],
)
def test_gpus_of_a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], found: list[str]) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(gpus, "DEV", tmp_path)
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.13.0")
    assert gpus.gpus_of_host() == found
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.13.0+cpu")
    assert gpus.gpus_of_host() == []


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2,0", ["2", "0"]),
        ("1, -1, 0", ["1"]),
        ("GPU-8f,GPU-9a", ["GPU-8f", "GPU-9a"]),
    ],
)
def test_gpus_that_the_environment_names(said: str, found: list[str]) -> None:
    assert gpus.usable({"CUDA_VISIBLE_DEVICES": said}, ["0", "1"]) == ("CUDA_VISIBLE_DEVICES", found)
