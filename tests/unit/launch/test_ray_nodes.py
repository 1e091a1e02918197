"""Ranks, ports, addresses and processes of a Ray cluster in an allocation."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from ensemble_mtl.core.errors import ConfigError
from ensemble_mtl.core.runtime.processes import process_started
from ensemble_mtl.launch.ray import process
from ensemble_mtl.launch.ray.meeting import Head
from ensemble_mtl.launch.ray.nodes import main
from ensemble_mtl.launch.started import ANY_RANKS, SIZES, number_in


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({"SLURM_PROCID": "3"}, 3),
        ({"SLURM_PROCID": "0", "PMI_RANK": "2"}, 2),  # mpiexec in a batch job
        ({"OMPI_COMM_WORLD_RANK": "1", "PMIX_RANK": "1"}, 1),
        ({"JSM_NAMESPACE_RANK": "5"}, 5),
        ({"PMIX_RANK": ""}, None),
        ({}, None),
    ],
)
def test_rank_is_the_launchers(environment: dict[str, str], rank: int | None) -> None:
    assert number_in(environment, ANY_RANKS) == rank


def test_port_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process.free_port("127.0.0.1") in process.PORTS
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        used = taken.getsockname()[1]
        monkeypatch.setattr(process.random, "sample", lambda *_: [used, 12345])
        assert process.free_port("127.0.0.1") == 12345
        monkeypatch.setattr(process.random, "sample", lambda *_: [used])
        with pytest.raises(ConfigError, match="no free port"):
            process.free_port("127.0.0.1")


def test_address_of_an_interface() -> None:
    assert process.host_address("lo") == "127.0.0.1"
    with pytest.raises(ConfigError, match=r"got 'none0'.*expected one of .*lo"):
        process.host_address("none0")
    assert process.host_address().count(".") == 3


def test_head_of_an_earlier_attempt_is_over_alone(tmp_path: Path) -> None:
    former, present = Head("127.0.0.1:1", "aa"), Head("127.0.0.1:1", "bb")
    former.end(tmp_path)
    assert former.over(tmp_path)
    assert not present.over(tmp_path)
    assert not present.answers()


def test_environment_names_the_token_and_does_not_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another cluster's")
    environment = Head("10.0.0.1:7", "aa").environment(tmp_path)
    assert "RAY_AUTH_TOKEN" not in environment
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "token-aa")
    assert environment["RAY_ADDRESS"] == "10.0.0.1:7"


def test_process_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time; from ensemble_mtl.launch.ray.process import start;"
        "print(start(['sleep', '100'], os.environ, None, signal.SIGKILL).pid, flush=True); time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        begun = process_started(child)
        assert begun
        assert child in process.descendants(parent.pid)
        parent.kill()
        parent.wait()
    for _ in range(100):
        if process_started(child) != begun:
            break
        subprocess.run(["sleep", "0.1"], check=True)
    else:
        os.kill(child, signal.SIGKILL)
        pytest.fail("it outlived its parent")


def test_exit_code_is_a_shells(tmp_path: Path) -> None:
    ends = process.start(["sh", "-c", "exit 7"], os.environ, tmp_path / "log", signal.SIGKILL)
    assert process.exit_code(ends, 30) == 7
    killed = process.start(["sleep", "100"], os.environ, tmp_path / "log", signal.SIGKILL)
    assert process.exit_code(killed, 0.01) is None
    killed.kill()
    assert process.exit_code(killed, 30) == 137


def test_rank_that_finds_no_head_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ensemble_mtl.launch.ray.nodes", str(tmp_path / "new"), "--seconds", "0.1"]
    outer = {name: value for name, value in os.environ.items() if name not in (*ANY_RANKS, *SIZES)}
    environment = outer | {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}
    told = subprocess.run([*command, "--", "true"], env=environment, capture_output=True, text=True, timeout=60)
    assert told.returncode == 2
    assert "rank 1 on" in told.stderr
    assert "finds no Ray head to join within 0 s" in told.stderr


def test_cluster_file_is_as_ray_expects() -> None:
    commands = pytest.importorskip("ray.autoscaler._private.commands")
    config = yaml.safe_load((Path(__file__).parents[3] / "hpc/ray-cluster.yaml").read_text())
    commands.validate_config(commands.prepare_config(config))
    for start in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in start[-1]
        assert "RAY_USAGE_STATS_ENABLED=0" in start[-1]


def test_unknown_number_of_nodes_is_refused(tmp_path: Path) -> None:
    nothing = dict.fromkeys((*ANY_RANKS, *SIZES))
    done = CliRunner().invoke(main, [str(tmp_path), "--", "true"], env=nothing)
    assert done.exit_code == 2
    assert "--nodes" in done.output


def test_unknown_rank_is_refused(tmp_path: Path) -> None:
    nothing = dict.fromkeys((*ANY_RANKS, *SIZES))
    done = CliRunner().invoke(main, [str(tmp_path), "--nodes", "2", "--", "true"], env=nothing)
    assert done.exit_code == 2
    assert "which of the nodes this is" in done.output
    assert "SLURM_PROCID" in done.output
