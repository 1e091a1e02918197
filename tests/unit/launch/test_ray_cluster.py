"""The parts of the Ray launcher that need no Ray."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from ensemble_mtl.core.errors import ConfigError, StudyError
from ensemble_mtl.launch import ray as launcher
from ensemble_mtl.launch.ray import task
from ensemble_mtl.launch.ray.cluster import Cluster, Node, refuse_upload, require
from ensemble_mtl.launch.ray.environment import write_token


@pytest.mark.parametrize(
    ("cpus", "gpus", "slots"),
    [(1, 0, 8), (3, 0, 2), (0.5, 0, 16), (9, 0, 0), (1, 1, 2), (1, 0.25, 8), (1, 1 / 3, 6), (1, 0.3, 6), (0.1, 0.7, 2)],
)
def test_slots_of_a_node_with_eight_cpus_and_two_gpus(cpus: float, gpus: float, slots: int) -> None:
    assert Node("n", 8, 2).slots(cpus, gpus) == slots


def test_refusal_lists_every_node() -> None:
    nodes = [Node("a (10.0.0.1)", 4, 0), Node("b (10.0.0.2)", 64, 8)]
    assert require(nodes, 8, 1, "the cluster") == 8
    with pytest.raises(ConfigError, match=r"(?s)128 CPU and 0 GPU.*a \(10.0.0.1\): 4 CPU.*b \(10.0.0.2\): 64 CPU, 8"):
        require(nodes, 128, 0, "the cluster")
    with pytest.raises(ConfigError, match="has no node"):
        require([], 1, 0, "the cluster")


@pytest.mark.parametrize("address", ["http://h:8265", "ray://h:10001", "h", "h:port", ":1"])
def test_address_that_is_none_is_refused(address: str, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match="expected host:port"):
        Cluster(address, 1.0, tmp_path / "ray.log", gpus=False)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'ensemble-mtl\[ray\]'"):
        Cluster("127.0.0.1:1", 1.0, tmp_path / "ray.log", gpus=False)


def test_token_is_for_its_user_alone_and_fresh(tmp_path: Path) -> None:
    write_token(tmp_path / "a")
    write_token(tmp_path / "b")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert len((tmp_path / "a").read_text()) == 64
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()
    with pytest.raises(FileExistsError):
        write_token(tmp_path / "a")


def test_study_in_an_upload_is_refused() -> None:
    refuse_upload(Path("/scratch/studies/a"))
    with pytest.raises(StudyError, match="--out"):
        refuse_upload(Path("/scratch/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_1/studies/a"))


@pytest.mark.parametrize("options", [{"gpus_per_shard": 1.5}, {"gpus_per_shard": -1}, {"cpus_per_shard": 0}])
def test_impossible_shares_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        launcher.Options(**options)


def test_stop_file_stops_when_it_is_no_longer_empty_or_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(task.time, "monotonic", lambda: now)
    path = tmp_path / "x.stop"
    path.touch()
    stop = task.StopFile(path)
    assert not stop.raised()
    path.write_text("stop")
    assert not stop.raised()  # it does not look at every call
    now += task.STOP_LOOK_SECONDS
    assert stop.raised()
    path.unlink()
    assert task.StopFile(path).raised()  # the driver has left


def test_worker_that_does_not_see_the_study_says_so(tmp_path: Path) -> None:
    order = task.Order(str(tmp_path / "a/study"), "{}", ("m",), str(tmp_path / "a/study/logs/x.stop"), math.inf)
    with pytest.raises(StudyError, match="does not see this study directory"):
        next(task.train(order))
