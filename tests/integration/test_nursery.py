"""Local workers whose nursery, the process that they are forked from, dies."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from helpers.studies import (
    ENVIRONMENT,
    LONG,
    alive,
    call,
    children,
    command,
    kill_trainer,
    numbers,
    results,
    start,
    status,
    trainers,
    wait_until,
    workers,
    write,
)


def nurseries(running: subprocess.Popen[str]) -> list[int]:
    """Those that have workers."""
    return [child for child in children(running.pid) if children(child)]


def without_nursery(config: Path, root: Path) -> tuple[subprocess.Popen[str], set[int]]:
    """A run that has lost its nursery and one of two workers since; the other worker, and the new one."""
    running = start("run", config, "--no-report")
    wait_until(lambda: running.poll() is not None or len(trainers(root, "checkpoint.pt")) == 2)
    (nursery,) = nurseries(running)
    both = set(workers(running.pid))
    os.kill(nursery, signal.SIGKILL)
    wait_until(lambda: not alive(nursery))
    kill_trainer(root, "running.json", running=lambda: running.poll() is None)
    wait_until(lambda: running.poll() is not None or bool(nurseries(running)))  # for the one in its place
    return running, {*filter(alive, both), *workers(running.pid)}


def test_workers_go_on(tmp_path: Path) -> None:
    undisturbed = write(tmp_path, LONG)
    assert call("run", undisturbed, "--no-report").returncode == 0
    (tmp_path / "killed").mkdir()
    config = write(tmp_path / "killed", LONG)
    root = config.parent / "studies/tiny"
    running, _ = without_nursery(config, root)
    output, _ = running.communicate(timeout=300)
    assert running.returncode == 0, output
    assert numbers(root) == numbers(tmp_path / "studies/tiny")


def test_workers_are_stopped(tmp_path: Path) -> None:
    config, root = write(tmp_path, LONG.replace("epochs: 60", "epochs: 3000")), tmp_path / "studies/tiny"
    running, left = without_nursery(config, root)
    assert len(left) == 2
    running.send_signal(signal.SIGTERM)
    output, _ = running.communicate(timeout=300)
    assert running.returncode == 99, output
    assert not any(map(alive, left))
    found = status(config)
    assert found["running"] == found["done"] == found["failed"] == 0
    assert found["checkpointed"] > 0


def test_names_of_temporary_folders_may_be_long(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    config = write(tmp_path)
    done = subprocess.run(command("run", config, "--no-report"), env={**ENVIRONMENT, "TMPDIR": str(folder)})
    assert done.returncode == 0
    assert len(results(tmp_path / "studies/tiny")) == 6
