"""A whole run: prepare what all members share, and launch every member that has no result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from typing import Any

from ensemble_mtl.config.registry import Options
from ensemble_mtl.core.errors import (
    EXIT_CHECKPOINTED,
    EXIT_COMPLETE,
    EXIT_INCOMPLETE,
    EXIT_MEMBER_FAILED,
    ConfigError,
    StoreError,
    StudyError,
)
from ensemble_mtl.core.events import Event, Observe
from ensemble_mtl.launch import rounds
from ensemble_mtl.launch.base import FAMILY, Launcher, deadline_of_environment, on_stop_signal
from ensemble_mtl.study.claims import exclusive
from ensemble_mtl.study.directory import Study, counts
from ensemble_mtl.study.plan import Member
from ensemble_mtl.study.study_files import write_plan

PREPARATION_SECONDS = 1800.0
"""How long to wait while another process prepares the same data."""


class RunOutcome(StrEnum):
    """How a run ended."""

    COMPLETE = "complete"
    """Every member that was asked for has a result."""
    MEMBERS_FAILED = "members failed"
    """At least one member could not be trained; its ``failed.json`` says why. The next run tries it again."""
    INCOMPLETE = "incomplete"
    """At least one member has no result yet, for example because another run trains it."""
    STOPPED = "stopped"
    """A signal or the end of the allocation stopped the run; all is checkpointed, and the next run continues."""
    SERVED = "served"
    """This process is not the lead of its MPI job. It has trained what the lead gave it, and has nothing left to do."""

    @property
    def exit_code(self) -> int:
        """The exit code of ``ensemble-mtl run`` after such an end."""
        return _EXIT_CODES[self]


_EXIT_CODES = {
    RunOutcome.COMPLETE: EXIT_COMPLETE,
    RunOutcome.MEMBERS_FAILED: EXIT_MEMBER_FAILED,
    RunOutcome.INCOMPLETE: EXIT_INCOMPLETE,
    RunOutcome.STOPPED: EXIT_CHECKPOINTED,
    RunOutcome.SERVED: EXIT_COMPLETE,
}


def run(
    study: Study,
    *,
    members: Sequence[Member] | None = None,
    launcher: str | None = None,
    observe: Observe | None = None,
    say: Callable[[str], None] | None = None,
) -> RunOutcome:
    """Train every member that has no result yet; what is finished is never trained again.

    The data are prepared and the plan is written first. A damaged result is renamed to ``result.damaged``, and its
    member is trained again from its checkpoint. Ctrl-C stops a training with checkpoints; a second one kills it.

    Args:
        study: the study.
        members: those to be done; by default all of the plan.
        launcher: name of the launcher, such as ``local``, with its default options; by default the one of the
            configuration, with its options.
        observe: receives events, each a mapping whose ``event`` says what it is; :mod:`ensemble_mtl.core.events` lists
            them.
        say: receives lines of text for a person, for example :func:`print`; by default nothing is shown.

    Returns:
        How it ended.

    Raises:
        ConfigError: there is no such launcher, or it cannot be used here.
        DataError: the raw data, or the targets that the tasks name, are not as expected.
        StudyError: members were trained on other data, a member is not of the plan, or this is not the main thread.
        TrainingError: no worker can be started.
        KeyboardInterrupt: a stop signal came outside of training, when there is nothing to checkpoint.
    """
    if threading.current_thread() is not threading.main_thread():
        raise StudyError("a run was started in a thread, expected the main one, since only that may handle signals")
    deadline_of_environment()  # a wrong one is reported now, once
    if launcher is not None:
        study = _with_launcher(study, launcher)
    planned = study.plan()
    if strangers := set(members or ()) - set(planned):
        raise StudyError(f"member {strangers.pop().id} is not in the plan of {study.config.name}; see study.plan()")
    chosen, options = planned if members is None else list(members), study.config.launch.launcher
    used = FAMILY.of(options)
    if used.follow(study, options):
        return RunOutcome.SERVED
    with interrupted_by_stop_signals():
        try:
            finished = _train(study, chosen, used, observe or _ignore, say or _ignore)
        finally:
            used.release(options)
        return _outcome(study, chosen) if finished else RunOutcome.STOPPED


@contextmanager
def interrupted_by_stop_signals() -> Iterator[None]:
    """Let each stop signal raise KeyboardInterrupt: outside of training there is nothing to checkpoint."""
    with on_stop_signal(_interrupt):
        yield


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _ignore(anything: object) -> None:
    """Take in an event or a line that nobody wants."""


def _with_launcher(study: Study, name: str) -> Study:
    """Return the study with another launcher, which has its default options unless it is the study's already."""
    launch = study.config.launch
    if launch.launcher.name == name:
        return study
    try:
        options: Options = FAMILY.load(name).Options(name=name)
    except ValueError as error:
        raise ConfigError(f"launcher: {error}") from None
    config = study.config.model_copy(update={"launch": launch.model_copy(update={"launcher": options})})
    return replace(study, config=config)


def _train(
    study: Study, members: Sequence[Member], launcher: Launcher, observe: Observe, say: Callable[[str], None]
) -> bool:
    """Prepare the data and launch every one of ``members`` that has no result; False if it was stopped."""
    _prepare(study, members, observe, say)
    if orphans := study.orphans():
        say(f"warning: {len(orphans)} result(s) here belong to another configuration, and to no report of this one")
    unfinished = study.unfinished(members)
    if not unfinished:
        say(f"all {len(members)} members are done already")
        return True
    say(f"{study.config.name}: training {len(unfinished)} of {len(members)} members in {study.root}")
    observe({"event": "training", "members": len(members), "done": len(members) - len(unfinished)})

    def report(event: Event) -> None:
        if text := _in_words(event):
            say(text)
        observe(event)

    return rounds.run(study, unfinished, launcher, report, say)


def _prepare(study: Study, members: Sequence[Member], observe: Observe, say: Callable[[str], None]) -> None:
    from ensemble_mtl.data.prepare import prepare  # loads numpy, after a launcher has set the number of its threads

    with exclusive(study.preparation, "preparing this study", PREPARATION_SECONDS):
        prepare(study, lambda done, total: observe({"event": "reading", "done": done, "total": total}))
        observe({"event": "prepared"})
        write_plan(study)
        _set_aside_damaged(study, members, say)


def _set_aside_damaged(study: Study, members: Sequence[Member], say: Callable[[str], None]) -> None:
    """Rename results that are not whole to ``result.damaged``, so that their members are trained again."""
    from ensemble_mtl.study import results

    for member in members:
        path = study.result(member)
        if not path.exists():
            continue
        try:
            results.verify(path.parent)
        except StoreError as error:
            path.replace(path.with_suffix(".damaged"))
            say(f"warning: {error}; set aside, and made again from the checkpoint")


def _in_words(event: dict[str, Any]) -> str:
    """Return what a person must know of a worker's event; empty for what goes as expected."""
    match event["event"]:
        case "stopping":
            return f"stopping: workers {'are killed' if event['killed'] else 'checkpoint after their present epoch'}"
        case "failed":
            return f"member {event['member']} failed: {event['error']}"
        case "shortage":
            return str(event["error"])
        case "retry":
            return f"{event['error']}; {len(event['members'])} member(s) are given to a new one"
        case _:
            return ""


def _outcome(study: Study, members: Sequence[Member]) -> RunOutcome:
    numbers = counts({member.id: study.state(member) for member in members})
    if numbers["failed"]:
        return RunOutcome.MEMBERS_FAILED
    return RunOutcome.COMPLETE if numbers["done"] == numbers["total"] else RunOutcome.INCOMPLETE
