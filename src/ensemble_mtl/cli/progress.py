"""A bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ensemble_mtl.cli.common import duration, note

LINE_SECONDS = 10.0
"""Least time between two plain lines."""
LEAST_SHARE = 0.03
"""Share of the work after which the rate so far says something of the rest."""


@contextmanager
def build_progress() -> Iterator[Callable[[int, int], None]]:
    """Shows how many raw files are read."""
    with _bar("reading data") as show:
        yield lambda done, total: show(done, total, f"{100 * done / max(total, 1):.0f} %")


@contextmanager
def step_progress(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """Shows which of ``total`` steps is being done; told of each when it begins."""
    begun = 0
    with _bar(title) as show:

        def begin(step: str) -> None:
            nonlocal begun
            begun += 1
            show(begun - 1, total, f"{step} ({begun}/{total})")

        yield begin


class TrainingProgress:
    """Shows members' epochs as events arrive.

    Args:
        total: members of the study.
        done: those finished before.
        epochs: most epochs of a member.
    """

    def __init__(self, show: Callable[[float, float, str], None], total: int, done: int, epochs: int) -> None:
        self._show, self._total, self._epochs = show, total, epochs
        self._done, self._failed = done, 0
        self._started, self._first = time.monotonic(), done * epochs
        self._at: dict[str, int] = {}

    def observe(self, event: dict[str, Any]) -> None:
        """Take in one worker event."""
        if event["event"] == "epoch":
            self._at |= dict.fromkeys(event["members"], event["epoch"])
        elif event["event"] in ("done", "failed"):
            self._at.pop(event["member"], None)
            self._done += event["event"] == "done"
            self._failed += event["event"] == "failed"
        if event["event"] == "stopping":
            now = "workers are killed" if event["killed"] else "workers checkpoint after their present epoch"
            note(f"stopping: {now}")
        elif event["event"] == "failed":
            note(f"member {event['member']} failed: {event['error']}")
        elif event["event"] == "shortage":
            note(event["error"])
        elif event["event"] == "retry":
            note(f"{event['error']}; {len(event['members'])} member(s) are given to a new one")
        ended = (self._done + self._failed) * self._epochs
        work, whole = ended + sum(self._at.values()), self._total * self._epochs
        left = ""
        if work < whole and work - self._first > LEAST_SHARE * (whole - self._first):
            rate = (work - self._first) / max(time.monotonic() - self._started, 1e-9)
            left = f", about {duration((whole - work) / rate)} left"
        failed = f", {self._failed} failed" if self._failed else ""
        self._show(work, whole, f"{self._done}/{self._total} members done, {len(self._at)} running{failed}{left}")


@contextmanager
def training_progress(total: int, done: int, epochs: int) -> Iterator[TrainingProgress]:
    """Shows the members in training."""
    with _bar("training") as show:
        yield TrainingProgress(show, total, done, epochs)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[float, float, str], None]]:
    if not sys.stderr.isatty():
        last, said, text = 0.0, "", ""

        def line(done: float, total: float, now: str) -> None:
            nonlocal last, said, text
            text = now
            if text != said and time.monotonic() - last >= LINE_SECONDS:
                last, said = time.monotonic(), text
                note(f"{title}: {text}")

        yield line
        if text != said:
            note(f"{title}: {text}")
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=None, text="")
        yield lambda done, total, text: progress.update(task, completed=done, total=total, text=text)
