"""Kills, requests to stop, damage, and two launchers at once: nothing finished is lost, and nothing changes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from helpers.studies import (
    ENVIRONMENT,
    LONG,
    alive,
    call,
    command,
    endings,
    kill_group,
    kill_trainer,
    numbers,
    results,
    start,
    starts,
    status,
    trainer,
    wait_until,
    workers,
    write,
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the long study, run without disturbance."""
    config = write(tmp_path_factory.mktemp("undisturbed"), LONG)
    done = call("run", config, "--no-report")
    assert done.returncode == 0, done.stderr
    return config.parent / "studies/tiny"


def test_kill_9_of_everything_loses_no_finished_member(tmp_path: Path, undisturbed: Path) -> None:
    config, root = write(tmp_path, LONG), tmp_path / "studies/tiny"
    running = start("run", config, "--no-report")
    wait_until(lambda: len(results(root)) >= 2)
    left = workers(running.pid)
    kill_group(running)
    wait_until(lambda: not any(alive(pid) for pid in left), 20)
    before = {name: path.stat().st_mtime_ns for name, path in results(root).items()}
    assert 2 <= len(before) < 9
    again = call("run", config, "--no-report")
    assert again.returncode == 0, again.stderr
    after = {name: path.stat().st_mtime_ns for name, path in results(root).items()}
    assert len(after) == 9
    assert {name: after[name] for name in before} == before
    assert numbers(root) == numbers(undisturbed)
    assert any(epoch for epochs in starts(root) for epoch in epochs), "nothing was resumed from a checkpoint"


def test_workers_die_with_their_launcher_and_the_next_run_does_the_rest(tmp_path: Path) -> None:
    config, root = write(tmp_path, LONG), tmp_path / "studies/tiny"
    running = start("run", config, "--no-report")
    wait_until(lambda: any(root.glob("members/*/*/running.json")))
    left = workers(running.pid)
    assert len(left) == 2
    running.kill()
    running.communicate()
    again = call("run", config, "--no-report")  # at once, while they may still be there
    assert again.returncode == 0, again.stderr
    assert not any(alive(pid) for pid in left)


def test_a_killed_worker_costs_its_siblings_nothing(tmp_path: Path, undisturbed: Path) -> None:
    config, root = write(tmp_path, LONG), tmp_path / "studies/tiny"
    running = start("run", config, "--no-report")
    kill_trainer(root, running=lambda: running.poll() is None)
    output, _ = running.communicate(timeout=300)
    assert running.returncode == 0, output
    assert "SIGKILL" in output
    assert numbers(root) == numbers(undisturbed)


def test_a_shard_that_always_dies_fails_alone(tmp_path: Path) -> None:
    config = write(tmp_path, LONG.replace("launch: {", "launch: {retries: 0, "))
    root = tmp_path / "studies/tiny"
    running = start("run", config, "--no-report")
    kill_trainer(root, "running.json", running=lambda: running.poll() is None)
    output, _ = running.communicate(timeout=300)
    assert running.returncode == 1, output
    found = status(config)
    assert found["failed"] > 0
    assert found["done"] + found["failed"] == 9
    assert "signal SIGKILL" in found["failures"][0]["error"]
    again = call("run", config, "--no-report")  # tries the failed ones again
    assert again.returncode == 0
    assert status(config)["done"] == 9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_request_to_stop_checkpoints(tmp_path: Path, undisturbed: Path, number: signal.Signals) -> None:
    config, root = write(tmp_path, LONG), tmp_path / "studies/tiny"
    running = start("run", config, "--no-report")
    wait_until(lambda: any(root.glob("members/*/*/metrics.jsonl")))
    running.send_signal(number)
    output, _ = running.communicate(timeout=300)
    assert running.returncode == 99, output
    found = status(config)
    assert found["running"] == 0
    assert call("run", config, "--no-report").returncode == 0
    assert numbers(root) == numbers(undisturbed)


def test_a_request_to_stop_before_training_is_heard(tmp_path: Path) -> None:
    config = write(tmp_path, LONG.replace("num_configurations: 60", "num_configurations: 4000"))
    running = start("run", config, "--no-report")
    wait_until(lambda: (tmp_path / "studies/tiny/preparing.json").exists())
    running.send_signal(signal.SIGUSR1)
    output, _ = running.communicate(timeout=300)
    assert running.returncode == 99, output
    assert not (tmp_path / "studies/tiny/preparing.json").exists()


def test_an_epoch_that_cannot_end_in_time_is_not_begun(tmp_path: Path, undisturbed: Path) -> None:
    config, root = write(tmp_path, LONG), tmp_path / "studies/tiny"
    over = subprocess.run(
        command("run", config, "--no-report"),
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "ENSEMBLE_MTL_DEADLINE": str(time.time() - 1)},
    )
    assert over.returncode == 99, over.stderr
    assert not list(root.glob("members/*/*/metrics.jsonl")), "an epoch was begun after the deadline"
    running = subprocess.run(
        command("run", config, "--no-report"),
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "ENSEMBLE_MTL_DEADLINE": str(time.time() + 5)},
    )
    assert running.returncode in (0, 99), running.stderr
    assert call("run", config, "--no-report").returncode == 0
    assert numbers(root) == numbers(undisturbed)
    bad = subprocess.run(
        command("run", config), capture_output=True, text=True, env={**ENVIRONMENT, "ENSEMBLE_MTL_DEADLINE": "soon"}
    )
    assert bad.returncode == 2
    assert "ENSEMBLE_MTL_DEADLINE: got 'soon'" in bad.stderr


def test_parts_of_a_plan_are_disjoint_and_make_the_whole(tmp_path: Path, undisturbed: Path) -> None:
    config, root = write(tmp_path, LONG), tmp_path / "studies/tiny"
    seen: set[str] = set()
    for part in ("1/3", "2/3", "3/3"):
        done = call("run", config, "--no-report", "--part", part)
        assert done.returncode == 0, done.stderr
        new = set(results(root)) - seen
        assert len(new) == 3
        seen |= new
    assert numbers(root) == numbers(undisturbed)
    wrong = call("run", config, "--part", "4/3")
    assert wrong.returncode == 2
    assert "expected K/N with K from 1 to N" in wrong.stderr


def test_what_a_living_process_elsewhere_holds_is_left_to_it_and_taken_over_when_it_is_silent(tmp_path: Path) -> None:
    config, root = write(tmp_path), tmp_path / "studies/tiny"
    member = json.loads(call("plan", config, "--json").stdout)["members"][0]
    claim = root / "members/HM" / member["id"] / "running.json"
    claim.parent.mkdir(parents=True)
    claim.write_text(json.dumps({"uid": "x", "pid": 1, "started": "1", "host": "n7", "machine": "n7"}))
    silent = threading.Event()

    def live() -> None:
        until = time.monotonic() + 300
        while not silent.wait(1) and time.monotonic() < until:
            os.utime(claim)

    holder = threading.Thread(target=live)
    holder.start()
    running = start("run", config, "--no-report")
    assert running.stdout is not None
    said = iter(running.stdout.readline, "")
    assert any("waiting for 1 member(s) claimed by process 1 on n7" in line for line in said)
    silent.set()
    holder.join()
    assert len(results(root)) == 5
    assert status(config)["running"] == 1
    os.utime(claim, (time.time() - 61, time.time() - 61))
    output, _ = running.communicate(timeout=300)
    assert running.returncode == 0, output
    assert len(results(root)) == 6


def test_a_process_that_slept_through_its_claims_leaves_the_members_to_their_new_owner(tmp_path: Path) -> None:
    config, root = write(tmp_path, LONG.replace("workers: 2", "workers: 1")), tmp_path / "studies/tiny"
    first = start("run", config, "--no-report")
    pid = trainer(root, "checkpoint.pt")
    os.kill(pid, signal.SIGSTOP)
    held = [path for path in root.glob("members/*/*/running.json") if json.loads(path.read_text())["pid"] == pid]
    for path in held:  # as if it slept for more than a minute on another machine
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "machine": "another"}))
        os.utime(path, (time.time() - 61, time.time() - 61))
    second = start("run", config, "--no-report")
    wait_until(lambda: all((path.parent / "result.json").exists() for path in held))
    before = {path: path.stat().st_mtime_ns for path in results(root).values()}
    time.sleep(5.5)  # longer than claims are trusted without a look
    os.kill(pid, signal.SIGCONT)
    for process in (first, second):
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    assert any("left to the process that took it over" in (path.parent / "log.txt").read_text() for path in held)
    assert len(results(root)) == 9


def test_two_runs_at_once_share_the_work(tmp_path: Path, undisturbed: Path) -> None:
    config, root = write(tmp_path, LONG), tmp_path / "studies/tiny"
    both = [start("run", config, "--no-report") for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert [epochs.count(0) for epochs in starts(root)] == [1] * 9
    assert endings(root) == [1] * 9
    assert numbers(root) == numbers(undisturbed)
    assert not list(root.rglob("*running.json*"))
    assert not list(root.glob("*preparing.json*"))


def test_a_member_that_is_tried_again_is_no_longer_failed(tmp_path: Path) -> None:
    config, root = write(tmp_path, LONG.replace("epochs: 60", "epochs: 100000")), tmp_path / "studies/tiny"
    assert call("data", "build", config).returncode == 0
    failed = root / "members/HM" / json.loads(call("plan", config, "--json").stdout)["members"][0]["id"]
    failed.mkdir(parents=True)
    (failed / "failed.json").write_text('{"error": "formerly", "attempts": 1, "traceback": ""}')
    assert status(config)["failed"] == 1
    running = start("run", config, "--no-report")
    wait_until(lambda: any(failed.glob("metrics.jsonl")))
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=300)
    assert running.returncode == 99
    found = status(config)
    assert (found["failed"], found["missing"]) == (0, 9)


def test_workers_that_cannot_start_are_an_error(tmp_path: Path) -> None:
    config, root = write(tmp_path), tmp_path / "studies/tiny"
    assert call("data", "build", config).returncode == 0
    (root / "logs").write_text("a file where a folder is to be")
    done = call("run", config, "--no-report")
    assert done.returncode == 1
    assert "no worker is left for" in done.stderr
    assert "exit code 1" in done.stderr


def test_status_of_a_run_that_goes_on(tmp_path: Path) -> None:
    config = write(tmp_path, LONG.replace("epochs: 60", "epochs: 100000"))
    running = start("run", config, "--no-report")
    try:
        wait_until(lambda: status(config)["seconds_left_at_most"] is not None, every=0.5)
        found = status(config)
        assert found["running"] > 0
        assert found["seconds_left_at_most"] > 0
    finally:
        kill_group(running)


def test_a_damaged_checkpoint_is_set_aside(tmp_path: Path, undisturbed: Path) -> None:
    config, root = write(tmp_path, LONG), tmp_path / "studies/tiny"
    running = start("run", config, "--no-report")
    wait_until(lambda: any(root.glob("members/*/*/checkpoint.pt")))
    kill_group(running)
    left = [path for path in root.glob("members/*/*/checkpoint.pt") if not (path.parent / "result.json").exists()]
    left[0].write_bytes(left[0].read_bytes()[:1000])
    assert call("run", config, "--no-report").returncode == 0
    assert (left[0].parent / "checkpoint.damaged").exists()
    assert "set aside" in (left[0].parent / "log.txt").read_text()
    assert numbers(root) == numbers(undisturbed)


def test_a_damaged_result_is_reported_and_not_averaged(tmp_path: Path) -> None:
    config, root = write(tmp_path), tmp_path / "studies/tiny"
    assert call("run", config, "--no-report").returncode == 0
    victim = next(iter(results(root).values()))
    data = next((victim.parent / "result.bp").glob("data.0"))
    data.write_bytes(data.read_bytes()[:-10])
    gathered = call("gather", config, "--json")
    assert gathered.returncode == 3, gathered.stderr
    summary = json.loads(gathered.stdout)
    assert [row["id"] for row in summary["damaged"]] == [victim.parent.name]
    assert {cell["error"]["members"] for cell in summary["cells"]} == {1, 2}
    again = call("run", config, "--no-report")
    assert again.returncode == 0
    assert "set aside" in again.stderr
    assert call("gather", config).returncode == 0
