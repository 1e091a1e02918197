"""A study that runs as jobs of a batch system, seen through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers.studies import LONG, command, wait_until

BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).parents[2]
SLOW = LONG.replace("epochs: 60,", "epochs: 150,").replace("seeds: 3", "seeds: 2")
"""A study of six members that train for about a quarter of a minute in a :func:`paced` environment."""

Environment = Mapping[str, str]


def paced(environment: Environment) -> dict[str, str]:
    """Return an environment in which epochs last three times as long, since jobs take their time to start."""
    return {**environment, "SLOW_EPOCH_SECONDS": "0.03"}


def call(environment: Environment, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``ensemble-mtl`` to its end, for at most two minutes."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, env=environment, timeout=120)


def write_site(folder: Path, **keys: Any) -> Path:
    """Write the file of a site with nodes of two cores, and return its path; ``keys`` are further settings."""
    path = folder / "site.yaml"
    path.write_text(json.dumps({"name": "test", "cpus_per_node": 2, **keys}))
    return path


def submit(environment: Environment, config: Path, *arguments: object) -> dict[str, Any]:
    """Submit the study, and return what ``submit --json`` prints."""
    done = call(environment, "submit", config, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    submission: dict[str, Any] = json.loads(done.stdout)
    return submission


def jobs(environment: Environment, config: Path) -> dict[str, dict[str, Any]]:
    """Return the jobs' rows of ``status --json``, by the job's id."""
    done = call(environment, "status", config, "--json")
    assert done.returncode == 0, done.stderr
    return {row["id"]: row for row in json.loads(done.stdout)["jobs"]}


def wait_for_end(environment: Environment, config: Path, seconds: float = 900) -> dict[str, dict[str, Any]]:
    """Wait until no job waits or runs, and return the jobs' rows of ``status --json``, by the job's id."""
    rows: dict[str, dict[str, Any]] = {}

    def over() -> bool:
        rows.update(jobs(environment, config))
        return all(row["live"] is False for row in rows.values())  # None: the scheduler did not answer

    try:
        wait_until(over, seconds, every=4.0)  # each question takes a process, and time from the jobs
    except AssertionError:
        logs = "".join(f"\n{path.name}:\n{path.read_text()}" for path in sorted(config.parent.rglob("jobs/*.log")))
        raise AssertionError(f"still there: {rows}{logs}") from None
    return rows


def checkpointed(root: Path) -> list[Path]:
    """Return the folders of members that have a checkpoint and no result."""
    folders = [path.parent for path in root.glob("members/*/*/checkpoint.pt")]
    return [folder for folder in folders if not (folder / "result.json").exists()]


def log(root: Path) -> str:
    """Return all that the jobs have printed."""
    return "".join(path.read_text() for path in sorted((root / "jobs").glob("*.log")))
