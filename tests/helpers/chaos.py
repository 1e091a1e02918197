"""Kill a study's processes by ``kill -9`` at random, again and again, until it is finished.

It is also a command, for launchers that need a namespace: ``python -m helpers.chaos STUDY KILLS SEED COMMAND …``.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from helpers.studies import ENVIRONMENT, TINY, alive, results

STUDY = TINY.replace("epochs: 3,", "epochs: 300, checkpoint_seconds: 0.1,").replace("seeds: 2", "seeds: 4")
STUDY = STUDY.replace("launch: {", "launch: {members_per_shard: 3, retries: 1000, ").replace("workers: 2", "workers: 4")
"""Twelve members in shards of at most three, which are regrouped after every death; four local workers to kill."""
PAUSE = (0.05, 0.8)
"""Shortest and longest time in seconds between two blows, and between the first member's start and a blow."""
EARLY_SHARE = 0.2
"""Share of the launchers that are killed while they start."""
BLOWS = ("the launcher", "a trainer", "all of them"), (1, 2, 2)
"""Which processes a blow kills, and their relative frequency; where a node is lost, all of them die."""


class Storm:
    """Starts a command again and again, and kills its processes.

    Args:
        root: the study directory.
        command: the command that runs the study.
        kills: how many processes are killed.
        seed: seed of the choice of victims and times.
    """

    def __init__(self, root: Path, command: Sequence[str], kills: int, seed: int) -> None:
        self.root, self.command, self.kills = root, list(command), kills
        self.random = random.Random(seed)
        self.killed: Counter[str] = Counter()
        self.results: dict[Path, tuple[int, int]] = {}

    def rage(self) -> None:
        """Kill until there were enough kills, or the study is done."""
        while self.killed.total() < self.kills:
            process = subprocess.Popen(
                self.command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
            )
            try:
                self._disturb(process)
            finally:
                if process.poll() is None:
                    process.kill()
                _, errors = process.communicate()
            if process.returncode == 0:
                return
            assert process.returncode < 0 or b"Traceback" not in errors, errors.decode()

    def _disturb(self, process: subprocess.Popen[bytes]) -> None:
        early = self.random.random() < EARLY_SHARE
        while process.poll() is None and self.killed.total() < self.kills:
            while not early and process.poll() is None and not trainers(self.root):
                time.sleep(0.05)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.random.uniform(*PAUSE))
            self.check_results()
            if process.poll() is not None:
                return
            blow, training = self.random.choices(*BLOWS)[0], trainers(self.root)
            if early or blow != "a trainer":
                self._kill("launcher", process.pid)
            if blow == "a trainer":
                training = self.random.sample(training, min(1, len(training)))
            if blow != "the launcher":
                for pid in training:
                    self._kill("trainer", pid)

    def _kill(self, kind: str, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.killed[kind] += 1

    def check_results(self) -> None:
        """Assert that a result, once there, neither changes nor disappears."""
        for path in results(self.root).values():
            stat = path.stat()
            self.results.setdefault(path, (stat.st_ino, stat.st_mtime_ns))
        for path, then in self.results.items():
            assert (path.stat().st_ino, path.stat().st_mtime_ns) == then, f"{path} was made twice"


def trainers(root: Path) -> list[int]:
    """Return the numbers of the living processes that hold members; a claim may be that of a dead process."""
    pids = set()
    for path in root.glob("members/*/*/running.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            pids.add(int(json.loads(path.read_text())["pid"]))
    return sorted(filter(alive, pids))


def through_the_storm(root: Path, command: Sequence[str], kills: int, seed: int) -> Counter[str]:
    """Run the study with ``kills`` kills and then to its end; return the number of kills of launchers and trainers."""
    storm = Storm(root, command, kills, seed)
    storm.rage()
    storm.check_results()
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    storm.check_results()
    return storm.killed


if __name__ == "__main__":
    print(json.dumps(through_the_storm(Path(sys.argv[1]), sys.argv[4:], int(sys.argv[2]), int(sys.argv[3]))))
