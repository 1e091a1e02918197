"""The training of a stack: epochs, probes and checkpoints, until each of its members has ended."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ensemble_mtl.core.errors import first_line
from ensemble_mtl.core.runtime.memory import is_shortage
from ensemble_mtl.curvature.measure import measure
from ensemble_mtl.curvature.saved import plain
from ensemble_mtl.study.attempts import AttemptEvent, Phase
from ensemble_mtl.study.claims import RENEWAL_SECONDS
from ensemble_mtl.study.member_files import begin_attempt, last_metrics, log, record_event
from ensemble_mtl.study.plan import Member, Subset
from ensemble_mtl.train.loop import EpochReport, out_of_patience, run_epoch
from ensemble_mtl.train.state import StackState, joined
from ensemble_mtl.worker import member_state
from ensemble_mtl.worker.context import ShardContext
from ensemble_mtl.worker.member_state import MemberRun
from ensemble_mtl.worker.record import StackLabel, fail_member, write_epoch, write_results

SAFETY = 1.2
"""An epoch is begun if this many times the slowest epoch and checkpoint so far fit before the deadline."""


@dataclass(frozen=True)
class Done:
    """The training is over: each member has its result, has failed, or was left to another process."""


@dataclass(frozen=True)
class Interrupted:
    """Training was asked to stop, or ran out of time; everything is checkpointed, and the same command continues.

    This is a value and no exception, since nothing went wrong.

    Attributes:
        reason: after which epoch training stopped, and why, in words for a person.
    """

    reason: str


@dataclass(frozen=True)
class OutOfMemory:
    """Memory did not suffice for the stack; its members go on from their checkpoints.

    Attributes:
        error: first line of the allocator's message.
    """

    error: str


StackEnd = Done | Interrupted | OutOfMemory
"""How the training of a stack ended."""


def train_stack(context: ShardContext, members: Sequence[Member]) -> StackEnd:
    """Train the members together, from their checkpoints to their ends.

    Args:
        context: what the stacks of the shard have in common.
        members: members that have trained for the same number of epochs and that this process holds.
    """
    try:
        return Stack(context, *_joined(context, members)).train()
    except (RuntimeError, MemoryError) as error:
        if not is_shortage(error):
            raise
        return OutOfMemory(first_line(error))


def _joined(context: ShardContext, members: Sequence[Member]) -> tuple[list[MemberRun], StackState]:
    """Load the members from their checkpoints; return them, and one state of all of them."""
    runs, states = zip(*(member_state.load(context.study, context.problem, member) for member in members), strict=True)
    return list(runs), joined(states)


class Stack:
    """Members that train together until each has ended.

    Args:
        context: what the stacks of the shard have in common.
        runs: the members.
        state: the state of these members, in the same order.
    """

    def __init__(self, context: ShardContext, runs: list[MemberRun], state: StackState) -> None:
        self.context, self.runs, self.state = context, runs, state
        self.study, self.config, self.problem = context.study, context.study.config, context.problem
        self.label = StackLabel(id=uuid.uuid4().hex[:12], size=len(runs))
        self._saved_at = self._claims_checked_at = time.monotonic()
        self._slowest_epoch = self._slowest_checkpoint = 0.0

    def train(self) -> Done | Interrupted:
        """Train every member to its end, epoch by epoch."""
        self._begin()
        while self.runs:
            if reason := self._too_late_for_an_epoch():
                return self._interrupt(reason)
            started = time.monotonic()
            report = run_epoch(self.problem, self.state, self._task_weights())
            report = self._leave_lost(report)
            if not self.runs:
                break
            write_epoch(self.context, self.runs, report)
            self._fail(torch.nonzero(report.failed).flatten().tolist())
            self._probe(self.state.epoch, range(len(self.runs)))
            self._finish_ended()
            if self.runs and self.context.supervisor.stop_requested():
                return self._interrupt("as requested")
            if time.monotonic() - self._saved_at >= self.config.train.checkpoint_seconds:
                self._checkpoint()
            self._slowest_epoch = max(self._slowest_epoch, time.monotonic() - started)
        return Done()

    def _begin(self) -> None:
        """Record the attempt, and do what precedes the next epoch: the probe before training, or pending results."""
        self._slowest_epoch = max(map(self._seconds_per_epoch_before, self.runs))
        for run in self.runs:
            begin_attempt(self.study, run.member, self.state.epoch, self.label.size)
        if self.state.epoch == 0:
            self._probe(0, range(len(self.runs)))
        else:
            self._finish_ended()  # a former process was killed between the last checkpoint and the results

    def _seconds_per_epoch_before(self, run: MemberRun) -> float:
        """Return the seconds per epoch expected from the member's last epoch in an earlier attempt; 0 without one."""
        metrics = last_metrics(self.study, run.member) if self.state.epoch else None
        return metrics["seconds"] * max(1.0, len(self.runs) / metrics["stack"]) if metrics else 0.0

    def _too_late_for_an_epoch(self) -> str | None:
        """Return why another epoch would not end before the deadline; None if it would."""
        seconds_left = self.context.supervisor.deadline - time.time()
        if seconds_left >= SAFETY * (self._slowest_epoch + self._slowest_checkpoint):
            return None
        return (
            f"an epoch takes {self._slowest_epoch:.1f} s, and the machine is lent for {max(seconds_left, 0):.1f} s more"
        )

    def _interrupt(self, cause: str) -> Interrupted:
        """Checkpoint all members and record that training was stopped."""
        self._checkpoint()
        reason = f"stopped after epoch {self.state.epoch} ({cause})"
        for run in self.runs:
            event = AttemptEvent(Phase.STOPPED, self.state.epoch, self.label.size)
            record_event(self.study, run.member, event, reason)
        return Interrupted(reason)

    def _leave_lost(self, report: EpochReport) -> EpochReport:
        """Go on without the members that another process took over while this one was stopped or cut off.

        Returns:
            the report on the members that are still held.
        """
        if time.monotonic() - self._claims_checked_at < RENEWAL_SECONDS:
            return report
        self._claims_checked_at = time.monotonic()
        lost = [row for row, run in enumerate(self.runs) if not self.context.holds(run.member)]
        for row in lost:  # the log only: from now on the other process records the attempts
            log(self.study, self.runs[row].member, "left to the process that took it over while this one was silent")
        held = [row for row in range(len(self.runs)) if row not in lost]
        self._drop(lost)
        return report.take(held) if lost else report

    def _fail(self, rows: Sequence[int]) -> None:
        """Let the members in these rows fail, because their losses are no longer finite."""
        text = (
            f"the loss is not finite after epoch {self.state.epoch}; "
            "try a smaller train.optimizer.lr, or train.dtype float64"
        )
        for row in rows:
            member, supervisor = self.runs[row].member, self.context.supervisor
            fail_member(self.study, member, supervisor, text, epoch=self.state.epoch, stack=self.label.size)
            self.context.release(member)
        self._drop(rows)

    def _finish_ended(self) -> None:
        """Write the results of the members that have trained long enough."""
        is_last_epoch = self.state.epoch >= self.config.train.epochs
        patience_ended = out_of_patience(self.problem.config, self.state)
        rows = [row for row in range(len(self.runs)) if is_last_epoch or bool(patience_ended[row])]
        if rows:
            self._probe("end", rows)
            write_results(self.context, [self.runs[row] for row in rows], self.state.take(rows), self.label)
            self._drop(rows)

    def _drop(self, rows: Sequence[int]) -> None:
        """Go on without the members in these rows."""
        remaining = [row for row in range(len(self.runs)) if row not in rows]
        if rows and remaining:
            self.state = self.state.take(remaining)
        self.runs = [self.runs[row] for row in remaining]

    def _task_weights(self) -> torch.Tensor:
        """Return the ``[M, T]`` task weights of the configuration, 0 for tasks that a member does not learn."""
        tasks = self.problem.model.spec.tasks
        rows = [
            [self.config.tasks[task].weight if task in run.member.subset else 0.0 for task in tasks]
            for run in self.runs
        ]
        parameters = self.state["parameters"]
        return torch.tensor(rows, dtype=parameters.dtype, device=parameters.device)

    def _probe(self, epoch: int | str, rows: Sequence[int]) -> None:
        """Measure the curvature of the members in these rows, if the study probes at ``epoch``, a number or ``end``."""
        probes = self.config.probes
        if probes is None or epoch not in probes.epochs or not rows:
            return
        # members of one subset are probed together, for the tasks that they learn
        rows_of_subset: dict[Subset, list[int]] = {}
        for row in rows:
            rows_of_subset.setdefault(self.runs[row].member.subset, []).append(row)
        for subset, subset_rows in rows_of_subset.items():
            measured = measure(self.problem, self.state.take(subset_rows), probes, subset)
            for row, results in zip(subset_rows, measured, strict=True):
                # the last epoch may have been probed by its number before it is probed as "end"
                done = {(probe["task"], probe["epoch"]) for probe in self.runs[row].probes}
                self.runs[row].probes += [plain(probe) for probe in results if (probe.task, probe.epoch) not in done]

    def _checkpoint(self) -> None:
        """Write the checkpoint of every member."""
        started = time.monotonic()
        for row, run in enumerate(self.runs):
            member_state.save(self.study, self.problem, run, self.state.take([row]))
        self._saved_at = time.monotonic()
        self._slowest_checkpoint = max(self._slowest_checkpoint, self._saved_at - started)
