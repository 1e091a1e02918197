"""How far the work is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ensemble_mtl.cli.common import duration, note

LINE_SECONDS = 10.0
"""Smallest time between two plain lines."""
SMALLEST_SHARE = 0.03
"""Share of the work that must be done before its rate is taken for that of the rest."""

Show = Callable[[float, float, str], None]
"""Shows how much is done, of how much in all, and a text."""


@contextmanager
def build_progress() -> Iterator[Callable[[int, int], None]]:
    """Show how many raw files are read: yields a function of the number read and the number in all."""
    with _bar("reading data") as show:
        yield lambda done, total: show(done, total, f"{100 * done / max(total, 1):.0f} %")


@contextmanager
def step_progress(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show which of ``total`` steps is being done: yields a function that is called with each step as it begins."""
    begun = 0
    with _bar(title) as show:

        def begin(step: str) -> None:
            nonlocal begun
            begun += 1
            show(begun - 1, total, f"{step} ({begun}/{total})")

        yield begin


class _Training:
    """Counts members and epochs as events of workers arrive.

    Args:
        show: shows the counts.
        total: members of the run.
        done: members that were finished before.
        epochs: largest number of epochs of a member.
    """

    def __init__(self, show: Show, total: int, done: int, epochs: int) -> None:
        self._show, self._total, self._epochs = show, total, epochs
        self._done, self._failed = done, 0
        self._started, self._first = time.monotonic(), done * epochs
        self._at: dict[str, int] = {}

    def observe(self, event: dict[str, Any]) -> None:
        """Take in one event."""
        if event["event"] == "epoch":
            self._at |= dict.fromkeys(event["members"], event["epoch"])
        elif event["event"] in ("done", "failed"):
            self._at.pop(event["member"], None)
            self._done += event["event"] == "done"
            self._failed += event["event"] == "failed"
        ended = (self._done + self._failed) * self._epochs
        work, whole = ended + sum(self._at.values()), self._total * self._epochs
        left = ""
        if work < whole and work - self._first > SMALLEST_SHARE * (whole - self._first):
            rate = (work - self._first) / max(time.monotonic() - self._started, 1e-9)
            left = f", about {duration((whole - work) / rate)} left"
        failed = f", {self._failed} failed" if self._failed else ""
        self._show(work, whole, f"{self._done}/{self._total} members done, {len(self._at)} running{failed}{left}")


@contextmanager
def run_progress(epochs: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Show a run: yields a function that is called with each event of :func:`ensemble_mtl.launch.run.run`.

    Args:
        epochs: largest number of epochs of a member.
    """
    reading: Callable[[int, int], None] | None = None
    training: _Training | None = None
    with ExitStack() as bars:

        def observe(event: dict[str, Any]) -> None:
            nonlocal reading, training
            match event["event"]:
                case "reading":
                    reading = reading or bars.enter_context(build_progress())
                    reading(event["done"], event["total"])
                case "prepared":
                    bars.pop_all().close()
                case "training":
                    show = bars.enter_context(_bar("training"))
                    training = _Training(show, event["members"], event["done"], epochs)
                case _:
                    if training:
                        training.observe(event)

        yield observe


@contextmanager
def _bar(title: str) -> Iterator[Show]:
    if not sys.stderr.isatty():
        last_time, last_text, text = 0.0, "", ""

        def line(done: float, total: float, now: str) -> None:
            nonlocal last_time, last_text, text
            text = now
            if text != last_text and time.monotonic() - last_time >= LINE_SECONDS:
                last_time, last_text = time.monotonic(), text
                note(f"{title}: {text}")

        yield line
        if text != last_text:
            note(f"{title}: {text}")
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=None, text="")
        yield lambda done, total, text: progress.update(task, completed=done, total=total, text=text)
