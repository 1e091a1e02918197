"""A study as jobs of a batch system, seen through the command line."""

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
"""Six members that train for about a quarter of a minute in a :func:`paced` environment."""

Environment = Mapping[str, str]


def paced(environment: Environment) -> dict[str, str]:
    """Epochs last three times as long: jobs take their time to start."""
    return {**environment, "SLOW_EPOCH_SECONDS": "0.03"}


def call(environment: Environment, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``ensemble-mtl`` to its end."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, env=environment, timeout=120)


def write_site(folder: Path, **keys: Any) -> Path:
    """A site's file."""
    path = folder / "site.yaml"
    path.write_text(json.dumps({"name": "test", "cpus_per_node": 2, **keys}))
    return path


def submit(environment: Environment, config: Path, *arguments: object) -> dict[str, Any]:
    """Submit; what it tells."""
    done = call(environment, "submit", config, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def jobs(environment: Environment, config: Path) -> dict[str, dict[str, Any]]:
    """What ``status`` tells of the jobs, by id."""
    done = call(environment, "status", config, "--json")
    assert done.returncode == 0, done.stderr
    return {row["id"]: row for row in json.loads(done.stdout)["jobs"]}


def wait_for_end(environment: Environment, config: Path, seconds: float = 900) -> dict[str, dict[str, Any]]:
    """Wait until no job waits or runs; what ``status`` tells of them then."""
    found: dict[str, dict[str, Any]] = {}

    def over() -> bool:
        found.update(jobs(environment, config))
        return all(row["live"] is False for row in found.values())  # None: the scheduler did not answer

    try:
        wait_until(over, seconds, every=4.0)  # asking takes a process, and time from what is waited for
    except AssertionError:
        logs = "".join(f"\n{path.name}:\n{path.read_text()}" for path in sorted(config.parent.rglob("jobs/*.log")))
        raise AssertionError(f"still there: {found}{logs}") from None
    return found


def checkpointed(root: Path) -> list[Path]:
    """Folders of members that have a checkpoint and no result."""
    found = [path.parent for path in root.glob("members/*/*/checkpoint.pt")]
    return [folder for folder in found if not (folder / "result.json").exists()]


def log(root: Path) -> str:
    """What the jobs have printed."""
    return "".join(path.read_text() for path in sorted((root / "jobs").glob("*.log")))


def endings(root: Path) -> list[int]:
    """How often each member has finished."""
    return [path.read_text().count("finished after epoch") for path in sorted(root.glob("members/*/*/log.txt"))]
