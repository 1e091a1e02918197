"""The way of a member's training state from its checkpoint into a stack, and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ensemble_mtl.core.errors import StoreError
from ensemble_mtl.study.attempts import AttemptEvent, Phase
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.member_files import record_event
from ensemble_mtl.study.plan import Member
from ensemble_mtl.train import checkpoint
from ensemble_mtl.train.mixed import with_all_heads, with_subset_heads
from ensemble_mtl.train.state import StackState, initial
from ensemble_mtl.train.step import Problem


@dataclass
class MemberRun:
    """A member in training.

    Attributes:
        member: the member of the plan.
        probes: finished probes as plain values and tensors, since they go into checkpoints.
    """

    member: Member
    probes: list[dict[str, Any]] = field(default_factory=list)


def load(study: Study, problem: Problem, member: Member) -> tuple[MemberRun, StackState]:
    """Read the member's checkpoint; without one, the member is untrained.

    A damaged checkpoint is renamed to ``checkpoint.damaged``, and the member is untrained again.

    Args:
        study: the member's study.
        problem: model and data, with heads for the member's tasks and possibly more.
        member: the member.

    Returns:
        the member in training, and its state: a stack of this member alone, with all heads of ``problem``.
    """
    path = study.checkpoint(member)
    untrained = initial(problem.layout, problem.buffers, [member.seed], problem.config, problem.train.device)
    if not path.exists():
        return MemberRun(member), untrained
    try:
        state, stored = checkpoint.load(path, member.id, problem.train.device)
    except StoreError as error:
        damaged = path.with_suffix(".damaged")
        path.replace(damaged)
        text = f"checkpoint set aside as {damaged.name}, training anew: {error}"
        record_event(study, member, AttemptEvent(Phase.RESET, epoch=0), text)
        return MemberRun(member), untrained
    return MemberRun(member, stored["probes"]), with_all_heads(problem, member.subset, state, untrained)


def save(study: Study, problem: Problem, run: MemberRun, state: StackState) -> None:
    """Write the member's checkpoint, with the heads of its own subset only.

    Args:
        study: the member's study.
        problem: model and data; ``state`` has all of its heads.
        run: the member and its probes.
        state: a stack of this member alone.

    Raises:
        OSError: the checkpoint could not be written whole; the former one is intact.
    """
    path, member = study.checkpoint(run.member), run.member
    checkpoint.save(path, member.id, with_subset_heads(problem, member.subset, state), {"probes": run.probes})
