"""One shard: members of one weighting, split and fraction, trained on from their checkpoints.

The way from the members of a study to the computation begins here, and each of these functions shows one loop:

* :func:`train_shard` trains one stack of members after the other;
* :meth:`ensemble_mtl.worker.stack.Stack.train` trains a stack epoch by epoch;
* :func:`ensemble_mtl.train.loop.train_epoch` trains an epoch batch by batch;
* :meth:`ensemble_mtl.train.step.TrainingStep.__call__` does the step of one batch, for all members of the stack;
* :class:`ensemble_mtl.models.model.Model` computes their predictions.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Sequence
from dataclasses import replace

import torch

from ensemble_mtl.core.errors import EnsembleMTLError
from ensemble_mtl.core.events import Event
from ensemble_mtl.study.attempts import AttemptEvent, Phase
from ensemble_mtl.study.claims import Claim, Keeper, claim
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.member_files import record_event
from ensemble_mtl.study.plan import Member
from ensemble_mtl.worker import grouping
from ensemble_mtl.worker.context import ShardContext, Supervisor
from ensemble_mtl.worker.problem import choose_device, make_problem, prepared_split
from ensemble_mtl.worker.record import fail_member
from ensemble_mtl.worker.stack import Done, Interrupted, OutOfMemory, train_stack


def train_shard(study: Study, members: Sequence[Member], supervisor: Supervisor) -> Done | Interrupted:
    """Train the members until each has a result, has failed, or training is interrupted.

    A fault that ends the shard is recorded as the failure of its members, so that other shards go on.

    Args:
        study: the study; its data have been made by :func:`ensemble_mtl.data.prepare.prepare`.
        members: members of one weighting, split and fraction. Those that are finished, and those that another living
            process holds, are left alone.
        supervisor: the launcher that runs the shard.

    Raises:
        OSError: not even the failure could be written.
    """
    unfinished = study.unfinished(members)
    failed: set[str] = set()

    def report(event: Event) -> None:
        if event["event"] == "failed":
            failed.add(event["member"])
        supervisor.report(event)

    try:
        return _train_claimed(study, unfinished, replace(supervisor, report=report)) if unfinished else Done()
    except Exception as error:
        explains_itself = isinstance(error, EnsembleMTLError | OSError)
        text = str(error) if explains_itself else f"{type(error).__name__}: {error}"
        trace = "" if explains_itself else traceback.format_exc()
        # a member that failed before the fault keeps its reason
        for member in study.free([member for member in unfinished if member.id not in failed]):
            fail_member(study, member, supervisor, text, traceback=trace)
        return Done()


def _train_claimed(study: Study, members: Sequence[Member], supervisor: Supervisor) -> Done | Interrupted:
    """Claim the members, group them into stacks, and train one stack after the other."""
    with Keeper(_claims(study, members)) as keeper:
        claimed = [member for member in members if keeper.held(study.claim_file(member))]
        unfinished = study.unfinished(claimed)  # another process may have finished some before they were claimed
        if not unfinished:
            return Done()
        context = _context(study, unfinished, supervisor, keeper)
        stacks = grouping.into_stacks(study, context.problem, unfinished)
        while stacks:
            stack = stacks.pop(0)
            match train_stack(context, stack):
                case Interrupted() as interrupted:
                    return interrupted
                case OutOfMemory() as shortage if len(stack) == 1:
                    _fail_too_large(context, stack[0], shortage)
                case OutOfMemory():
                    stacks = _halves(context, stack) + stacks
                case Done():
                    pass
    return Done()


def _claims(study: Study, members: Sequence[Member]) -> list[Claim]:
    """Claim the members, and return the claims; there is none for a member that another process holds."""
    claims: list[Claim] = []
    try:
        for member in members:
            if member_claim := claim(study.claim_file(member)):
                claims.append(member_claim)  # noqa: PERF401 - those made before a fault must be released
    except BaseException:
        for member_claim in claims:
            member_claim.release()
        raise
    return claims


def _context(study: Study, members: Sequence[Member], supervisor: Supervisor, keeper: Keeper) -> ShardContext:
    """Put together what the stacks have in common; the model has a head for every task that any member learns."""
    config, first = study.config, members[0]
    prepared = prepared_split(study, first.split)
    device = choose_device(config)
    tasks = tuple(task for task in config.tasks if any(task in member.subset for member in members))
    problem = make_problem(
        config, prepared, tasks, first.split, first.fraction, device, weighting=first.weighting
    )  # fmt: skip
    return ShardContext(study, problem, prepared, supervisor, keeper)


def _halves(context: ShardContext, stack: Sequence[Member]) -> list[list[Member]]:
    """Return smaller stacks for the unfinished members of a stack for which memory did not suffice."""
    study, size = context.study, len(stack)
    unfinished = study.unfinished(member for member in stack if context.holds(member))
    text = f"{size} members need more memory than there is; on with {grouping.half(size)}"
    for member in unfinished:
        record_event(study, member, AttemptEvent(Phase.SHORT_OF_MEMORY, stack=size), text)
    context.supervisor.report({"event": "shortage", "error": text})
    _return_memory(context.problem.train.device)
    return grouping.into_halves(study, context.problem, unfinished, size)


def _fail_too_large(context: ShardContext, member: Member, shortage: OutOfMemory) -> None:
    """Let a member fail that does not fit into memory even alone; other members may still fit."""
    text = (
        f"a single member needs more memory than there is ({shortage.error}); try a smaller train.batch_size, "
        "model.trunk.width, probes.graphs or probes.lanczos_steps, fewer workers, or a machine with more"
    )
    fail_member(context.study, member, context.supervisor, text, stack=1)
    context.release(member)


def _return_memory(device: torch.device) -> None:
    """Free the memory of a failed attempt.

    Tracebacks and autograd's graphs refer to each other in cycles, and torch keeps the GPU's memory that it freed.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
