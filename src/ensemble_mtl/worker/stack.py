"""A stack at work: epochs, probes, checkpoints, and a result for each member that ends."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ensemble_mtl.core.errors import EnsembleMTLError
from ensemble_mtl.core.runtime.provenance import device_name, versions
from ensemble_mtl.curvature.measure import measure
from ensemble_mtl.curvature.saved import arrays, plain
from ensemble_mtl.data.prepare import Prepared
from ensemble_mtl.study import results
from ensemble_mtl.study.claims import RENEWAL_SECONDS, Keeper
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.member_files import add_metrics, begin, last_metrics, log, record_failure
from ensemble_mtl.study.plan import FIXED, Member, Subset
from ensemble_mtl.study.results import MemberResult, ProbeResult
from ensemble_mtl.train import checkpoint
from ensemble_mtl.train.loop import EpochReport, out_of_patience, run_epoch
from ensemble_mtl.train.mixed import narrowed, own_spec
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem
from ensemble_mtl.worker.evaluation import evaluate


@dataclass(frozen=True)
class Control:
    """The line between a stack and whoever runs it.

    Attributes:
        tell: receives an event (a JSON object) per epoch, finished and failed member.
        stop: asked after every epoch; when true, all is checkpointed and training ends.
        deadline: Unix time at which the machine is taken away; an epoch that cannot end
            before it is not begun.
    """

    tell: Callable[[dict[str, Any]], None]
    stop: Callable[[], bool]
    deadline: float = math.inf


SAFETY = 1.2
"""An epoch is begun if this many times the slowest one and the slowest checkpoint so far fit before the deadline."""


class InterruptedTrainingError(EnsembleMTLError):
    """Training was asked to stop; everything is checkpointed."""


@dataclass
class MemberRun:
    """A member in training.

    Attributes:
        member: which one.
        probes: finished probes, as plain values and tensors (they go into checkpoints).
    """

    member: Member
    probes: list[dict[str, Any]] = field(default_factory=list)


class Stack:
    """Members that train together until each has ended.

    Args:
        study: where files go.
        problem: model and data.
        prepared: the data with their normalisers.
        runs: the members.
        state: theirs, in the same order.
        control: to be told and asked.
        keeper: holds the claims on the members.
    """

    def __init__(
        self,
        study: Study,
        problem: Problem,
        prepared: Prepared,
        runs: list[MemberRun],
        state: StackState,
        control: Control,
        keeper: Keeper,
    ) -> None:
        self.study, self.problem, self.prepared = study, problem, prepared
        self.runs, self.state, self.control, self.keeper = runs, state, control, keeper
        self.size, self.id = len(runs), uuid.uuid4().hex[:12]
        self.config = study.config
        self._saved = self._checked = time.monotonic()
        self._slowest = self._saving = 0.0

    def train(self) -> None:
        """Train every member to its end."""
        self._slowest = max(map(self._former_seconds, self.runs))
        for run in self.runs:
            begin(self.study, run.member, self.state.epoch, self.size)
        if self.state.epoch == 0:
            self._probe(0, range(len(self.runs)))
        else:
            self._end()  # killed between its last checkpoint and its result
        while self.runs:
            self._stay_in_time()
            started = time.monotonic()
            self._epoch()
            self._slowest = max(self._slowest, time.monotonic() - started)

    def _former_seconds(self, run: MemberRun) -> float:
        """Seconds per epoch of this stack, judged by what the member met before."""
        former = last_metrics(self.study, run.member) if self.state.epoch else None
        return former["seconds"] * max(1.0, len(self.runs) / former["stack"]) if former else 0.0

    def _stay_in_time(self) -> None:
        left = self.control.deadline - time.time()
        if left < SAFETY * (self._slowest + self._saving):
            self._interrupt(
                f"an epoch takes {self._slowest:.1f} s, and the machine is lent for {max(left, 0):.1f} s more"
            )

    def _interrupt(self, why: str) -> None:
        self._checkpoint()
        text = f"stopped after epoch {self.state.epoch} ({why})"
        for run in self.runs:
            log(self.study, run.member, text)
        raise InterruptedTrainingError(f"{text}; the same command continues")

    def _epoch(self) -> None:
        report = run_epoch(self.problem, self.state, self._weights())
        self._leave_lost()
        if not self.runs:
            return
        self._record(report)
        failed = torch.nonzero(report.failed).flatten().tolist()
        for row in failed:
            self._fail(row)
        self._drop(failed)
        self._probe(self.state.epoch, range(len(self.runs)))
        self._end()
        if self.runs and self.control.stop():
            self._interrupt("as requested")
        if time.monotonic() - self._saved >= self.config.train.checkpoint_seconds:
            self._checkpoint()

    def _leave_lost(self) -> None:
        """Leave the members that another process took over while this one was stopped or cut off."""
        if time.monotonic() - self._checked < RENEWAL_SECONDS:
            return
        self._checked = time.monotonic()
        lost = [m for m, run in enumerate(self.runs) if not self.keeper.held(self.study.claim(run.member))]
        for m in lost:
            log(self.study, self.runs[m].member, "left to the process that took it over while this one was silent")
        self._drop(lost)

    def _end(self) -> None:
        """Write the results of the members that have trained long enough."""
        over = self.state.epoch >= self.config.train.epochs
        patience = out_of_patience(self.problem.config, self.state)
        rows = [row for row in range(len(self.runs)) if over or bool(patience[row])]
        if rows:
            self._finish(rows)
            self._drop(rows)

    def _drop(self, rows: list[int]) -> None:
        kept = [row for row in range(len(self.runs)) if row not in rows]
        if kept:
            self.state = self.state.take(kept) if rows else self.state
        self.runs = [self.runs[row] for row in kept]

    def _weights(self) -> torch.Tensor:
        tasks = self.problem.model.spec.tasks
        rows = [
            [self.config.tasks[task].weight if task in run.member.subset else 0.0 for task in tasks]
            for run in self.runs
        ]
        parameters = self.state["parameters"]
        return torch.tensor(rows, dtype=parameters.dtype, device=parameters.device)

    def _probe(self, epoch: int | str, rows: Sequence[int]) -> None:
        probes = self.config.probes
        if probes is None or epoch not in probes.epochs or not rows:
            return
        by_subset: dict[Subset, list[int]] = {}
        for row in rows:
            by_subset.setdefault(self.runs[row].member.subset, []).append(row)
        for subset, some in by_subset.items():
            found = measure(self.problem, self.state.take(some), probes, subset)
            for row, measured in zip(some, found, strict=True):
                done = {(probe["task"], probe["epoch"]) for probe in self.runs[row].probes}
                self.runs[row].probes += [plain(probe) for probe in measured if (probe.task, probe.epoch) not in done]

    def _record(self, report: EpochReport) -> None:
        tasks = self.problem.model.spec.tasks
        for m, run in enumerate(self.runs):
            own = [(t, task) for t, task in enumerate(tasks) if task in run.member.subset]
            line = {
                "epoch": report.epoch,
                "lr": float(report.lr[m]),
                "train_loss": _number(sum(float(report.train.mse[m, t]) * self.config.tasks[k].weight for t, k in own)),
                "val_loss": _number(float(report.val_loss[m])),
                "train_rmse_scaled": {task: _number(float(report.train.mse[m, t]) ** 0.5) for t, task in own},
                "val_rmse_scaled": {task: _number(float(report.val.mse[m, t]) ** 0.5) for t, task in own},
                "train_mae_scaled": {task: _number(float(report.train.mae[m, t])) for t, task in own},
                "val_mae_scaled": {task: _number(float(report.val.mae[m, t])) for t, task in own},
                "seconds": report.seconds,
                "stack": len(self.runs),
                **self._weighing(report, m, own),
            }
            if report.test is not None:
                line["test_mae_scaled"] = {task: _number(float(report.test.mae[m, t])) for t, task in own}
            add_metrics(self.study, run.member, line)
        self.control.tell(
            {
                "event": "epoch",
                "members": [run.member.id for run in self.runs],
                "epoch": report.epoch,
                "epochs": self.config.train.epochs,
                "seconds": report.seconds,
            }
        )

    def _weighing(self, report: EpochReport, m: int, own: list[tuple[int, str]]) -> dict[str, Any]:
        """What the weighting did, if it is another than the default: task weights, and seconds of the stack."""
        if self.runs[m].member.weighting == FIXED:
            return {}
        found: dict[str, Any] = {"weighting_seconds": report.weighting_seconds}
        if report.weights is not None:
            found["weights"] = {task: _number(float(report.weights[m, t])) for t, task in own}
        return found

    def _finish(self, rows: list[int]) -> None:
        self._probe("end", rows)
        state = self.state.take(rows)
        metrics, predictions = evaluate(self.config, self.problem, self.prepared, state)
        tasks = self.problem.model.spec.tasks
        for i, row in enumerate(rows):
            run, store = self.runs[row], self.prepared.store
            self._save(row)
            targets = {task: self.config.tasks[task].target for task in run.member.subset}
            result = MemberResult(
                member=run.member.to_json(),
                data_sha256=store.sha256,
                metrics={task: metrics[i][task] for task in targets},
                units={task: store.target_info(name).unit for task, name in targets.items()},
                epochs=self.state.epoch,
                best_epoch=int(state["best.epoch"][i]),
                stopped_early=self.state.epoch < self.config.train.epochs,
                train_seconds=float(state["seconds"][i]),
                stack_seconds=float(state["stack_seconds"][i]),
                stack_size=self.size,
                stack_id=self.id,
                stack_tasks=list(tasks) if len(tasks) > len(run.member.subset) else [],
                num_parameters=own_spec(self.problem, run.member.subset).num_parameters(),
                device=device_name(state["parameters"].device),
                dtype=self.config.train.dtype,
                versions=versions(),
                predictions={task: predictions[i][task] for task in targets},
                probes=[ProbeResult(**arrays(probe)) for probe in run.probes],
            )
            results.write(self.study.folder(run.member), result)
            self._leave(run, f"finished after epoch {self.state.epoch}, best epoch {result.best_epoch}")
            self.control.tell({"event": "done", "member": run.member.id})

    def _fail(self, row: int) -> None:
        run = self.runs[row]
        text = (
            f"the loss is not finite after epoch {self.state.epoch}; "
            "try a smaller train.optimizer.lr, or train.dtype float64"
        )
        record_failure(self.study, run.member, text)
        self._leave(run, f"failed: {text}")
        self.control.tell({"event": "failed", "member": run.member.id, "error": text})

    def _leave(self, run: MemberRun, text: str) -> None:
        log(self.study, run.member, text)
        self.keeper.release(self.study.claim(run.member))

    def _checkpoint(self) -> None:
        started = time.monotonic()
        for row in range(len(self.runs)):
            self._save(row)
        self._saved = time.monotonic()
        self._saving = max(self._saving, self._saved - started)

    def _save(self, row: int) -> None:
        run = self.runs[row]
        path = self.study.checkpoint(run.member)
        own = narrowed(self.problem, run.member.subset, self.state.take([row]))
        checkpoint.save(path, run.member.id, own, {"probes": run.probes})


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if value == value and abs(value) != float("inf") else None
