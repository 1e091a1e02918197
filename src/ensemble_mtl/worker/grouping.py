"""How many members train together: every decision about it stands here.

Members that have trained for the same number of epochs can form a stack. A short trial before training finds out how
many of them are quickest together. A stack for which memory does not suffice goes on in halves. So does a stack whose
process came to a sudden end before the next checkpoint, since that is how the system ends a process when the machine
is short of memory. A member's numbers do not depend on its stack, so a decision costs or saves time and memory only.

The configuration decides how many members a shard has at most, and whether it may mix subsets: see
:func:`ensemble_mtl.launch.base.make_shards`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch

from ensemble_mtl.core.runtime.devices import finish
from ensemble_mtl.core.runtime.memory import is_shortage
from ensemble_mtl.study.attempts import AttemptEvent, Phase, read_events
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.member_files import record_event
from ensemble_mtl.study.plan import Member
from ensemble_mtl.train.loop import batches
from ensemble_mtl.train.state import StackState, joined
from ensemble_mtl.train.step import Problem, losses_and_gradient
from ensemble_mtl.worker import member_state

MIN_STEPS_FOR_TRIAL = 100
"""No trial is made where fewer training steps than this are left to do."""
GAIN = 0.85
"""A smaller stack is preferred only if it takes less than this share of the larger one's time per member, since times
vary on a busy machine."""
REPEATS = 4
"""How often a trial times a step; the shortest time counts."""


def into_stacks(study: Study, problem: Problem, members: Sequence[Member]) -> list[list[Member]]:
    """Group the members into stacks that are quick and should fit into memory.

    Args:
        study: the members' study.
        problem: their model and data.
        members: members that this process holds.

    Returns:
        the stacks, those with the fewest epochs trained first.
    """
    stacks = []
    for epoch, peers in _by_epoch(study, problem, members):
        stacks += _cut(peers, _size_by_trial(study, problem, peers, epoch))
    return stacks


def into_halves(study: Study, problem: Problem, members: Sequence[Member], size: int) -> list[list[Member]]:
    """Group the members of a stack anew for which memory did not suffice; no stack has more than half of its size.

    Args:
        study: the members' study.
        problem: their model and data.
        members: the members of the stack that are left to do.
        size: number of members in the stack when memory ran out.

    Returns:
        the stacks, those with the fewest epochs trained first.
    """
    stacks = []
    for _, peers in _by_epoch(study, problem, members):
        stacks += _cut(peers, half(size))
    return stacks


def half(size: int) -> int:
    """Return half of a stack's size, rounded up."""
    return math.ceil(size / 2)


def _by_epoch(study: Study, problem: Problem, members: Sequence[Member]) -> list[tuple[int, list[Member]]]:
    """Return pairs of a number of epochs trained and the members whose checkpoints have it, the fewest epochs first."""
    groups: dict[int, list[Member]] = {}
    for member in members:
        trained = study.checkpoint(member).exists()
        epoch = member_state.load(study, problem, member)[1].epoch if trained else 0
        groups.setdefault(epoch, []).append(member)
    return sorted(groups.items())


def _cut(members: list[Member], size: int) -> list[list[Member]]:
    """Return the members in lists of ``size``; the last list may be shorter."""
    return [members[start : start + size] for start in range(0, len(members), size)]


def _size_by_trial(study: Study, problem: Problem, peers: list[Member], epoch: int) -> int:
    """Return how many of ``peers``, which stand at the same ``epoch``, are quickest together; the trial is recorded.

    Should the process be killed during the trial, its last event tells the next process that this size is too large.
    """
    candidates = peers[: _size_after_sudden_end(study, peers, epoch)]
    size = len(candidates)
    for member in candidates:
        event = AttemptEvent(Phase.TRYING, epoch, size)
        record_event(study, member, event, f"tried at epoch {epoch} in a stack of {size}")
    try:
        fastest = quickest(problem, joined([member_state.load(study, problem, member)[1] for member in candidates]))
    except (RuntimeError, MemoryError) as error:
        if not is_shortage(error):
            raise
        fastest = half(size)  # not even their weights fit into memory
    for member in candidates:
        event = AttemptEvent(Phase.GROUPED, epoch, fastest)
        record_event(study, member, event, f"to be trained in stacks of {fastest}")
    return fastest


def _size_after_sudden_end(study: Study, peers: list[Member], epoch: int) -> int:
    """Return how many of ``peers`` may train together, by the sudden ends of their former stacks.

    A stack came to a sudden end if the last event of a member says that it was being tried or trained, and its
    checkpoint is still at the epoch of that event. The size is half of the smallest such stack, or all of ``peers`` if
    there was none.
    """
    last_events = [events[-1] for member in peers if (events := read_events(study, member))]
    ended_sizes = [
        event.stack
        for event in last_events
        if event.phase in (Phase.TRYING, Phase.TRAINING) and event.epoch == epoch and event.stack
    ]
    return half(min(ended_sizes)) if ended_sizes else len(peers)


def quickest(problem: Problem, state: StackState) -> int:
    """Return the number of members of ``state`` for which a training step takes the least time per member.

    Steps are timed with all members, then with half of them, a quarter and so on, as long as that makes a step
    quicker per member, or memory does not suffice.

    Args:
        problem: model and data.
        state: all members that may train together; it stays as it is.
    """
    size = len(state)
    order = batches(problem, state.epoch)
    if size == 1 or len(order) * (problem.config.epochs - state.epoch) < MIN_STEPS_FOR_TRIAL:
        return size
    fastest, shortest = 1, math.inf
    while True:
        seconds = _step_seconds(problem, state.take(range(size)), order[0]) / size
        if seconds < GAIN * shortest:
            fastest, shortest = size, seconds
        elif seconds < math.inf:
            return fastest
        if size == 1:
            return fastest
        size = half(size)


def _step_seconds(problem: Problem, state: StackState, graphs: torch.Tensor) -> float:
    """Return the seconds that one training step takes with the batch ``graphs``; infinity if memory does not suffice.

    On a CPU it is this process's CPU time, which does not depend on what else the machine does; on a GPU it is
    wall-clock.
    """
    parameters = state["parameters"]
    weights = torch.ones(len(state), len(problem.model.spec.tasks)).to(parameters)

    def now() -> float:
        """Return the CPU time, or on a GPU the time once its work is finished."""
        if not parameters.is_cuda:
            return time.process_time()
        finish(parameters.device)
        return time.perf_counter()

    seconds = []
    try:
        for _ in range(REPEATS):
            started = now()
            losses_and_gradient(problem, state, weights, graphs)
            seconds.append(now() - started)
    except (RuntimeError, MemoryError) as error:
        if not is_shortage(error):
            raise
        return math.inf
    return min(seconds)
