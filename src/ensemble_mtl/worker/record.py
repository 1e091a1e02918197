"""What a shard writes about its members: metrics after each epoch, and a result or a failure at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ensemble_mtl.core.finite import finite_or_none
from ensemble_mtl.core.runtime.provenance import device_name, versions
from ensemble_mtl.curvature.saved import arrays
from ensemble_mtl.study import results
from ensemble_mtl.study.attempts import AttemptEvent, Phase
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.member_files import add_metrics, record_event, record_failure
from ensemble_mtl.study.plan import FIXED, Member
from ensemble_mtl.study.results import MemberResult, ProbeResult
from ensemble_mtl.train.loop import EpochReport
from ensemble_mtl.train.mixed import subset_spec
from ensemble_mtl.train.state import StackState
from ensemble_mtl.worker import member_state
from ensemble_mtl.worker.context import ShardContext, Supervisor
from ensemble_mtl.worker.evaluation import PartErrors, evaluate
from ensemble_mtl.worker.member_state import MemberRun


@dataclass(frozen=True)
class StackLabel:
    """What a result says of the stack in which its member was trained.

    Attributes:
        id: the same for all members that were trained together and so share one clock.
        size: number of members in the stack at its start.
    """

    id: str
    size: int


def write_epoch(context: ShardContext, runs: Sequence[MemberRun], report: EpochReport) -> None:
    """Add the epoch to the metrics of each member, and report it to the supervisor.

    Args:
        context: what the stacks of the shard have in common.
        runs: the members of the stack.
        report: the report on the epoch, whose rows are the members in the same order.
    """
    for row, run in enumerate(runs):
        add_metrics(context.study, run.member, _metrics_line(context, run.member, report, row, len(runs)))
    context.supervisor.report(
        {
            "event": "epoch",
            "members": [run.member.id for run in runs],
            "epoch": report.epoch,
            "epochs": context.study.config.train.epochs,
            "seconds": report.seconds,
        }
    )


def _metrics_line(
    context: ShardContext, member: Member, report: EpochReport, row: int, stack_size: int
) -> dict[str, Any]:
    """Return one line of ``metrics.jsonl``: a row of the report, for the tasks that the member learns."""
    tasks = context.study.config.tasks
    columns = [(t, task) for t, task in enumerate(context.problem.model.spec.tasks) if task in member.subset]
    train, val, test = report.train, report.val, report.test
    line = {
        "epoch": report.epoch,
        "lr": float(report.lr[row]),
        "train_loss": finite_or_none(sum(float(train.mse[row, t]) * tasks[task].weight for t, task in columns)),
        "val_loss": finite_or_none(float(report.val_loss[row])),
        "train_rmse_scaled": {task: finite_or_none(float(train.mse[row, t]) ** 0.5) for t, task in columns},
        "val_rmse_scaled": {task: finite_or_none(float(val.mse[row, t]) ** 0.5) for t, task in columns},
        "train_mae_scaled": {task: finite_or_none(float(train.mae[row, t])) for t, task in columns},
        "val_mae_scaled": {task: finite_or_none(float(val.mae[row, t])) for t, task in columns},
        "seconds": report.seconds,
        "stack": stack_size,
    }
    if member.weighting != FIXED:  # fixed weights stand in the configuration already
        line["weighting_seconds"] = report.weighting_seconds  # for the whole stack
        if report.weights is not None:
            line["weights"] = {task: finite_or_none(float(report.weights[row, t])) for t, task in columns}
    if test is not None:
        line["test_mae_scaled"] = {task: finite_or_none(float(test.mae[row, t])) for t, task in columns}
    return line


def write_results(context: ShardContext, runs: Sequence[MemberRun], state: StackState, stack: StackLabel) -> None:
    """Write the last checkpoint and the result of each member, and give up the claim on it.

    Args:
        context: what the stacks of the shard have in common.
        runs: members whose training has ended.
        state: the state of these members, in the same order.
        stack: the stack in which they trained.

    Raises:
        OSError: a file could not be written whole.
    """
    study = context.study
    metrics, predictions = evaluate(study.config, context.problem, context.prepared, state)
    for row, run in enumerate(runs):
        row_state = state.take([row])
        member_state.save(study, context.problem, run, row_state)
        result = _member_result(context, run, row_state, metrics[row], predictions[row], stack)
        results.write(study.folder(run.member), result)
        event = AttemptEvent(Phase.FINISHED, state.epoch, stack.size)
        text = f"finished after epoch {state.epoch}, best epoch {result.best_epoch}"
        record_event(study, run.member, event, text)
        context.release(run.member)
        context.supervisor.report({"event": "done", "member": run.member.id})


def _member_result(
    context: ShardContext,
    run: MemberRun,
    state: StackState,
    metrics: dict[str, PartErrors],
    predictions: dict[str, NDArray[Any]],
    stack: StackLabel,
) -> MemberResult:
    """Return the result of ``run``, the only member of ``state``, for the tasks that it learns."""
    config, store, subset = context.study.config, context.prepared.store, run.member.subset
    tasks = context.problem.model.spec.tasks
    return MemberResult(
        member=run.member.to_json(),
        data_sha256=store.sha256,
        metrics={task: metrics[task] for task in subset},
        units={task: store.target_info(config.tasks[task].target).unit for task in subset},
        epochs=state.epoch,
        best_epoch=int(state["best.epoch"][0]),
        stopped_early=state.epoch < config.train.epochs,
        train_seconds=float(state["seconds"][0]),
        stack_seconds=float(state["stack_seconds"][0]),
        stack_size=stack.size,
        stack_id=stack.id,
        stack_tasks=list(tasks) if len(tasks) > len(subset) else [],
        num_parameters=subset_spec(context.problem, subset).num_parameters(),
        device=device_name(state["parameters"].device),
        dtype=config.train.dtype,
        versions=versions(),
        predictions={task: predictions[task] for task in subset},
        probes=[ProbeResult(**arrays(probe)) for probe in run.probes],
    )


def fail_member(
    study: Study,
    member: Member,
    supervisor: Supervisor,
    error: str,
    *,
    traceback: str = "",
    epoch: int | None = None,
    stack: int | None = None,
) -> None:
    """Record that the member cannot be trained, and report it; the claim on the member stays as it is.

    Args:
        study: the member's study.
        member: the member.
        supervisor: receives the event.
        error: what is wrong, in words for a person.
        traceback: where it went wrong, if the program is at fault; else empty.
        epoch: number of epochs that the member had trained; None if that is not known.
        stack: number of members in its stack; None if it was in no stack yet.

    Raises:
        OSError: not even the failure could be written.
    """
    record_event(study, member, AttemptEvent(Phase.FAILED, epoch, stack), f"failed: {error}")
    record_failure(study, member, error, traceback)
    supervisor.report({"event": "failed", "member": member.id, "error": error})
