"""The result of a planned member: what its training left, and the curvature that was measured meanwhile."""

from __future__ import annotations

from ensemble_mtl.core.errors import IncompleteStudyError
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member
from ensemble_mtl.study.results import MemberResult, ProbeResult
from ensemble_mtl.study.results import read as read_result


def load_result(study: Study, member: Member) -> MemberResult:
    """Return everything that the training of one member left: errors, times, test predictions and probes.

    Args:
        study: the study.
        member: one of its members.

    Raises:
        IncompleteStudyError: the member has no result yet.
        StoreError: the result is damaged; the message names the file.
    """
    return _read(study, member, predictions=True)


def probes(study: Study, member: Member) -> list[ProbeResult]:
    """Return the curvature that was measured while one member was trained: a probe per epoch and task.

    Args:
        study: the study.
        member: one of its members.

    Raises:
        IncompleteStudyError: the member has no result yet.
        StoreError: the result is damaged; the message names the file.
    """
    return _read(study, member, predictions=False).probes


def _read(study: Study, member: Member, *, predictions: bool) -> MemberResult:
    path = study.result(member)
    if not path.exists():
        raise IncompleteStudyError(
            f"{path}: member {member.id} ({member.group}, seed {member.seed}) is {study.state(member)} and has no "
            "result yet; run the study first"
        )
    return read_result(path.parent, predictions=predictions)
