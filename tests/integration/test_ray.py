"""The Ray launcher with a real Ray, in a namespace of its own."""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.namespace import ADDRESS, Namespace, Started, missing
from helpers.studies import (
    ENVIRONMENT,
    LONG,
    TINY,
    call,
    endings,
    kill_trainer,
    numbers,
    results,
    trainers,
    wait_until,
    weights,
    write,
)

from ensemble_mtl.launch.ray.environment import QUIET, write_token

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
HEAD = "127.0.0.1:6379"
DASHBOARD = "http://127.0.0.1:8265"
SECOND_PORT = 7001
WAIT = "from ensemble_mtl.launch.ray.cluster import wait_for_nodes; wait_for_nodes(2, 120)"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Numbers and weights of LONG by the local launcher."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert call("run", write(folder, LONG), "--no-report").returncode == 0
    return _found(folder / "studies/tiny")


def _found(root: Path) -> tuple[Any, Any]:
    return numbers(root), weights(root)


@pytest.fixture(scope="module")
def space() -> Iterator[Namespace]:
    environment = {**ENVIRONMENT, **QUIET, "PATH": f"{BIN}:{ENVIRONMENT['PATH']}"}
    # what Ray's own commands write for a user goes there
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as home,
        Namespace({**environment, "HOME": home}) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the cluster's second node does not see."""
    return tmp_path_factory.mktemp("hidden")


@pytest.fixture(scope="module")
def cluster(space: Namespace, hidden: Path) -> Iterator[dict[str, str]]:
    """Two nodes of one CPU each; the environment that leads to them."""
    with tempfile.TemporaryDirectory(
        prefix="ray-", ignore_cleanup_errors=True
    ) as folder:  # short, for the names of sockets
        token = Path(folder) / "token"
        write_token(token)
        variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        variables["SLOW_EPOCH_SECONDS"] = "0.03"  # longer than it takes to find whom to kill
        common = [BIN / "ray", "start", "--block", "--num-cpus=1", "--object-store-memory=80000000"]
        common += ["--node-ip-address=127.0.0.1", "--min-worker-port=0", "--max-worker-port=0"]
        head = ["--head", "--port=6379", "--dashboard-host=127.0.0.1", "--dashboard-port=8265"]
        # not the default one, which the agent of a cluster that was killed keeps for a minute
        head += [f"--dashboard-agent-listen-port={SECOND_PORT + 10}"]
        space.start(*common, *head, f"--temp-dir={folder}/t", **variables)
        names = ("node-manager", "object-manager", "dashboard-agent-listen", "runtime-env-agent", "metrics-export")
        ports = [f"--{name}-port={SECOND_PORT + i}" for i, name in enumerate(names)]
        # a node deletes unused uploads in Ray's folder, which on one machine would be the other node's too
        own = f'for folder in {hidden} {folder}/t; do mount -t tmpfs none $folder; done; exec "$@"'
        mount = ["unshare", "--mount", "sh", "-c", own, "sh"]
        wait_until(lambda: space.call("sh", "-c", f"ss -ltn | grep -q :{HEAD[-4:]}").code == 0, every=0.5)
        space.start(*mount, *common, f"--address={HEAD}", *ports, **variables)
        found = {**variables, "RAY_ADDRESS": HEAD}
        told = space.call(sys.executable, "-c", WAIT, **found)
        assert told.code == 0, told.said()
        yield found


def _command(config: Path, *arguments: object) -> list[object]:
    return [BIN / "ensemble-mtl", "run", config, "--launcher", "ray", "--no-report", *arguments]


def _trainers(root: Path) -> set[int]:
    """Process numbers, in the namespace, of those that train and have written a checkpoint."""
    return trainers(root, "checkpoint.pt")


def _wait_for_trainers(root: Path, run: Started, number: int = 1) -> set[int]:
    """Wait until so many train; their process numbers."""
    found: set[int] = set()

    def there() -> bool:
        nonlocal found
        assert run.code is None, run.said()
        found = _trainers(root)
        return len(found) >= number

    try:
        wait_until(there)
    except AssertionError:
        raise AssertionError(run.said()) from None
    return found


def _kill_trainer(space: Namespace, root: Path, run: Started) -> None:
    kill_trainer(
        root,
        kill=lambda pid, number: space.kill(pid, number.name.removeprefix("SIG")),
        living=lambda pid: pid in space.processes(),
        running=lambda: run.code is None,
    )


def _driver(space: Namespace, config: Path) -> int:
    (pid,) = [pid for pid, line in space.processes().items() if f"run {config}" in line and "nsenter" not in line]
    return pid


def test_own_cluster_ends_with_its_driver_and_gives_the_local_launchers_numbers(
    space: Namespace, undisturbed: tuple[Any, Any], tmp_path: Path
) -> None:
    config, root = write(tmp_path, LONG), tmp_path / "studies/tiny"
    _wait_for_trainers(root, space.start(*_command(config)))
    space.kill(_driver(space, config))
    space.wait_for_none("emtl-ray-")
    space.wait_for_none("ray::train")
    left = 9 - len(results(root))
    done = space.call(*_command(config))
    assert done.code == 0, done.said()
    assert left > 0
    assert f"training {left} of 9 members" in done.said()
    assert _found(root) == undisturbed
    assert "Traceback" not in done.said()


def test_request_that_no_node_can_meet_is_refused(space: Namespace, cluster: dict[str, str], tmp_path: Path) -> None:
    config = write(tmp_path)
    told = space.call(*_command(config, "--set", "launch.launcher.gpus_per_shard=0.5"), **cluster)
    assert told.code == 2
    assert "1 CPU and 0.5 GPU" in told.said()
    assert len(re.findall(r"\(127\.0\.0\.1\): 1 CPU, 0 GPU", told.said())) == 2
    assert not (tmp_path / "studies/tiny/data.bp").exists()  # at once, before data are prepared


def test_dead_head_is_refused_in_bounded_time(space: Namespace, cluster: dict[str, str], tmp_path: Path) -> None:
    seconds = ("--set", "launch.launcher.connect_seconds=1")
    told = space.call(*_command(write(tmp_path), *seconds), seconds=60, **{**cluster, "RAY_ADDRESS": f"{ADDRESS}:9"})
    assert told.code == 2
    assert f"no Ray head answers at {ADDRESS}:9" in told.said()
    assert "Connection refused" in told.said()


def test_wrong_token_is_refused_in_bounded_time(space: Namespace, cluster: dict[str, str], tmp_path: Path) -> None:
    write_token(tmp_path / "token")
    wrong = {**cluster, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    seconds = ("--set", "launch.launcher.connect_seconds=1")
    told = space.call(*_command(write(tmp_path), *seconds), seconds=90, **wrong)
    assert told.code == 2
    assert f"cannot join the Ray cluster at {HEAD}" in told.said()
    assert "RAY_AUTH_TOKEN_PATH" in told.said()


def test_node_that_does_not_see_the_study_is_named(
    space: Namespace, cluster: dict[str, str], hidden: Path, tmp_path: Path
) -> None:
    told = space.call(*_command(write(tmp_path), "--out", hidden / "a/study"), **cluster)
    assert told.code == 2
    assert re.search(r"node \S+ does not see this study directory", told.said())
    assert "Traceback" not in told.said()


@pytest.mark.parametrize("upload", [(), ("--working-dir", REPOSITORY)], ids=["without upload", "with upload"])
def test_submitted_job_runs(
    space: Namespace, cluster: dict[str, str], tmp_path: Path, upload: tuple[object, ...]
) -> None:
    submit = [BIN / "ray", "job", "submit", "--address", DASHBOARD, *upload, "--"]
    run = _command(write(tmp_path, TINY), "--out", tmp_path / "study")
    deadline = time.monotonic() + 60
    while True:
        told = space.call(*submit, *run, **cluster)
        if "No available agent" not in told.said() or time.monotonic() > deadline:
            break  # it was not yet up
    assert told.code == 0, told.said()
    assert "succeeded" in told.said()
    assert len(results(tmp_path / "study")) == 6


def test_stopped_and_then_killed_driver_leaves_no_worker_in_training(
    space: Namespace, cluster: dict[str, str], undisturbed: tuple[Any, Any], tmp_path: Path
) -> None:
    config, root = write(tmp_path, LONG), tmp_path / "studies/tiny"
    stopped = space.start(*_command(config), **cluster)
    _wait_for_trainers(root, stopped)
    space.kill(_driver(space, config), "TERM")
    assert stopped.wait() == 99, stopped.said()
    assert not _trainers(root)  # they released their claims
    assert len(results(root)) < 9

    _wait_for_trainers(root, space.start(*_command(config), **cluster))
    former = _trainers(root)
    space.kill(_driver(space, config))
    wait_until(lambda: not former & set(space.processes()))

    done = space.call(*_command(config), **cluster)
    assert done.code == 0, done.said()
    assert _found(root) == undisturbed
    assert max(endings(root)) == 1  # one may be killed before it tells of its end


def test_shard_that_kills_its_worker_too_often_fails_alone(
    space: Namespace, cluster: dict[str, str], tmp_path: Path
) -> None:
    config, root = write(tmp_path, LONG), tmp_path / "studies/tiny"
    run = space.start(*_command(config, "--set", "launch.retries=0"), **cluster)
    _kill_trainer(space, root, run)
    assert run.wait() == 1, run.said()
    failed = list(root.glob("members/*/*/failed.json"))
    assert failed
    assert len(results(root)) + len(failed) == 9
    assert "WorkerCrashedError" in failed[0].read_text()


def test_lost_node_and_killed_worker_cost_no_member(
    space: Namespace, cluster: dict[str, str], undisturbed: tuple[Any, Any], tmp_path: Path
) -> None:
    config, root = write(tmp_path, LONG), tmp_path / "studies/tiny"
    run = space.start(*_command(config), **cluster)
    former = _wait_for_trainers(root, run, 2)  # one on each node
    (raylet,) = [pid for pid, line in space.processes().items() if f"--node_manager_port={SECOND_PORT}" in line]
    space.kill(raylet)
    wait_until(lambda: not former <= set(space.processes()))
    _kill_trainer(space, root, run)
    assert run.wait() == 0, run.said()
    assert "given to a new one" in run.said()
    assert _found(root) == undisturbed
    assert max(endings(root)) == 1  # one may be killed before it tells of its end


def _ranks(space: Namespace, folder: Path, size: int, *command: object) -> list[Started]:
    nodes = [
        sys.executable,
        "-P",
        "-m",
        "ensemble_mtl.launch.ray.nodes",
        folder,
        "--cpus",
        "1",
        "--seconds",
        "600",
        "--",
    ]
    return [space.start(*nodes, *command, SLURM_PROCID=str(rank), SLURM_NTASKS=str(size)) for rank in range(size)]


def test_nodes_pass_a_signal_on_and_a_lost_one_is_done_without(undisturbed: tuple[Any, Any], tmp_path: Path) -> None:
    config, root = write(tmp_path, LONG), tmp_path / "studies/tiny"
    with Namespace(ENVIRONMENT) as space:
        ranks = _ranks(space, tmp_path / "two", 2, *_command(config))
        _wait_for_trainers(root, ranks[0])
        for pid, line in space.processes().items():
            if "-m ensemble_mtl.launch.ray.nodes" in line:
                space.kill(pid, "USR1")  # as a scheduler does
        assert [rank.wait() for rank in ranks] == [99, 0], [rank.said() for rank in ranks]
        space.wait_for_none("")

        ranks = _ranks(space, tmp_path / "four", 4, *_command(config))
        _wait_for_trainers(root, ranks[0])
        raylets = [pid for pid, line in space.processes().items() if "/raylet " in line and "--head" not in line]
        assert len(raylets) == 3
        space.kill(raylets[-1])
        assert [rank.wait() for rank in ranks] == [0, 0, 0, 0], [rank.said() for rank in ranks]
        space.wait_for_none("")
    assert _found(root) == undisturbed
    assert not list(tmp_path.glob("*/token-*"))
