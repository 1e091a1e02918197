"""Reading the usable content of a study directory: the graph store, splits and the members' results.

A result is usable if it is verified and was trained on the study's own data; unusable results are listed with the
reason.
"""

from __future__ import annotations

import json
import math

from ensemble_mtl.analysis.groups import Pair
from ensemble_mtl.analysis.summary import DamagedMember, FailedMember, Parts, PlannedMember
from ensemble_mtl.analysis.summary_rows import METRICS
from ensemble_mtl.core.errors import DataError, IncompleteStudyError, StoreError
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.split.base import Split
from ensemble_mtl.study import results
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member
from ensemble_mtl.study.results import MemberResult


def load_store(study: Study) -> GraphStore:
    """The study's graph store.

    Raises:
        IncompleteStudyError: it has not been built yet.
        StoreError: it is damaged.
    """
    from ensemble_mtl.data import store

    if not study.data.exists():
        raise IncompleteStudyError(f"{study.data}: no graph store yet; run the study first, or build its data")
    return store.load(study.data)


def load_split(study: Study, seed: int, data_sha256: str) -> Split | None:
    """The split drawn with ``seed`` for the data of that hash; None if it cannot be read or is of other data."""
    try:
        content = json.loads(study.split(seed).read_text())
        return Split.from_json(content["split"]) if content["data_sha256"] == data_sha256 else None
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None


def split_sizes(study: Study, data_sha256: str) -> Parts | None:
    """Numbers of graphs in the parts of the study's first split; None if it cannot be read or is of other data."""
    split = load_split(study, study.config.split_seeds[0], data_sha256)
    if split is None:
        return None
    return Parts(train=len(split.train), val=len(split.val), test=len(split.test))


def usable_results(study: Study, data_sha256: str) -> tuple[list[Pair], list[DamagedMember]]:
    """The members with a usable result (read without its predictions), and the members with an unusable one."""
    pairs, damaged = [], []
    for member in study.plan():
        if not study.is_done(member):
            continue
        try:
            result = results.read(study.folder(member), predictions=False)
            _check(study, member, result, data_sha256)
        except StoreError as error:
            damaged.append(DamagedMember(**dict(planned_member(member)), reason=_relative(study, str(error))))
        else:
            pairs.append((member, result))
    return pairs, damaged


def planned_member(member: Member) -> PlannedMember:
    """The entry of the member in the summary's lists of members."""
    return PlannedMember(
        id=member.id,
        subset=member.subset,
        seed=member.seed,
        split=member.split,
        fraction=member.fraction,
        weighting=member.weighting,
    )


def failed_member(study: Study, member: Member) -> FailedMember:
    """The entry of a failed member, from its ``failed.json``; if that cannot be read, the entry says so."""
    try:
        content = json.loads(study.failure(member).read_text())
        error, attempts = str(content.get("error", "")), int(content.get("attempts", 1))
    except (OSError, ValueError, TypeError, AttributeError):
        error, attempts = f"{study.failure(member).name} cannot be read", 1
    return FailedMember(**dict(planned_member(member)), error=_relative(study, error), attempts=attempts)


def _check(study: Study, member: Member, result: MemberResult, data_sha256: str) -> None:
    """Raise StoreError if the result is of another member or other data, or lacks a test error."""
    path = study.result(member)
    if result.member.get("id") != member.id:
        raise StoreError(f"{path}: is the result of member {result.member.get('id')}, expected {member.id}")
    if result.data_sha256 != data_sha256:
        raise StoreError(
            f"{path}: trained on other data (store {result.data_sha256[:12]}…, this study's is {data_sha256[:12]}…); "
            "run the member again"
        )
    for task in member.subset:
        errors = result.metrics.get(task, {}).get("test", {})
        absent = [metric for metric in METRICS if not _is_number(errors.get(metric))]
        if absent:
            raise StoreError(f"{path}: no finite test {', '.join(absent)} of task {task}; run the member again")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _relative(study: Study, text: str) -> str:
    """The text with paths relative to the study directory, so that a summary is the same wherever the study lies."""
    return text.replace(f"{study.root}/", "")
