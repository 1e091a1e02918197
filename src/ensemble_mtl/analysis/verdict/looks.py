"""The record of looks: when verdicts were given, and which of them stand.

Whoever adds repeats to a study and looks again has a second chance of a false verdict. So each look spends a part of
the error rate (``terms.look_level``), a comparison that is decided keeps the interval of its look, and only undecided
ones are tested again, with all repeats. The record lies in ``looks.json`` of the study.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ensemble_mtl.analysis.verdict.pairs import Name
from ensemble_mtl.analysis.verdict.result import Comparison
from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.core.storage import atomic

FILE = "looks.json"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Look(_Frozen):
    """A look at verdicts.

    Attributes:
        repeats: size of the plan at which verdicts were given.
        number: which look it was, from 1; it decides the level.
    """

    repeats: int = Field(ge=1)
    number: int = Field(ge=1)


class Decided(_Frozen):
    """A comparison that was decided, with the interval of its look.

    Attributes:
        name: the comparison.
        look: when it was decided.
        result: all of it, as it was then.
    """

    name: Name
    look: Look
    result: Comparison


class Family(_Frozen):
    """Comparisons that share an error rate, because they were declared together.

    Attributes:
        names: the comparisons; their number K does not change any more.
        looks: at which verdicts were given, in order.
        decided: comparisons that are not tested again.
    """

    names: tuple[Name, ...]
    looks: tuple[Look, ...] = ()
    decided: tuple[Decided, ...] = ()

    def result(self, name: Name) -> Decided | None:
        """The standing decision on a comparison; None while it is open."""
        return next((entry for entry in self.decided if entry.name == name), None)


class Record(_Frozen):
    """All looks at a study.

    Attributes:
        format: version of the file.
        families: in the order in which they were declared.
    """

    format: Literal[1] = 1
    families: tuple[Family, ...] = ()


def declare(record: Record, names: Collection[Name]) -> Record:
    """The record with a new family for those comparisons that are in none, if there are any.

    Subsets or tasks that are added to a study have an error rate of their own: they cannot change what was decided
    before, and the number of comparisons of the earlier families stays what was declared.
    """
    declared = {name for family in record.families for name in family.names}
    added = tuple(dict.fromkeys(name for name in names if name not in declared))
    return record.model_copy(update={"families": (*record.families, Family(names=added))}) if added else record


def current_look(family: Family, repeats: int, trained_under: Collection[int] = ()) -> Look:
    """The look that verdicts on a plan of this size belong to.

    A size that was looked at before is the same look again. The record is taken as lost if members were trained under
    a smaller plan than it has seen: verdicts may have been given then, so this is the second look at least, or as many
    as there are smaller plans.

    Args:
        family: with the looks so far.
        repeats: size of the plan.
        trained_under: sizes of the plans that the results of the family's multi-task members name.
    """
    before = next((look.number for look in family.looks if look.repeats == repeats), None)
    following = 1 + max((look.number for look in family.looks), default=0)
    smaller = {size for size in (*trained_under, *(look.repeats for look in family.looks)) if size < repeats}
    return Look(repeats=repeats, number=max(following if before is None else before, 1 + len(smaller)))


def is_lost(family: Family, repeats: int, trained_under: Collection[int]) -> bool:
    """Whether the record misses looks: members were trained under a smaller plan than the first that it names."""
    first = min((look.repeats for look in family.looks), default=repeats)
    return any(size < first for size in trained_under)


def conclude(record: Record, family: Family, look: Look, results: Mapping[Name, Comparison]) -> Record:
    """The record after a look: it is counted, and what it decides stands.

    Args:
        record: in which ``family`` is.
        family: one of its families.
        look: as :func:`current_look` says.
        results: the family's comparisons at the level of this look, with all planned members done or given up.

    Raises:
        ValueError: a result is interim, of another look, or of another family.
    """
    for name, result in results.items():
        if name not in family.names:
            raise ValueError(f"{name} is not a comparison of this family")
        if result.verdict is None or result.terms.look != look.number:
            raise ValueError(f"{name}: not a verdict of look {look.number} ({result.verdict}, {result.terms})")
    fresh = [
        Decided(name=name, look=look, result=result)
        for name, result in results.items()
        if result.verdict in ("gains", "loses", "same") and family.result(name) is None
    ]
    earlier_looks = [earlier for earlier in family.looks if earlier.repeats != look.repeats]
    looks = tuple(sorted((*earlier_looks, look), key=lambda entry: entry.number))
    concluded = family.model_copy(update={"looks": looks, "decided": (*family.decided, *fresh)})
    families = tuple(concluded if entry is family else entry for entry in record.families)
    return record.model_copy(update={"families": families})


def standing(family: Family, results: Mapping[Name, Comparison]) -> dict[Name, Comparison]:
    """The results with decided comparisons as they were decided."""
    decisions = {name: family.result(name) for name in results}
    return {name: results[name] if entry is None else entry.result for name, entry in decisions.items()}


def read(folder: Path) -> Record:
    """The record of a study directory; empty if it has none yet.

    Raises:
        StudyError: the file is damaged.
    """
    path = folder / FILE
    try:
        return Record.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Record()
    except OSError as error:
        raise StudyError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise _damaged(path, f"{place}: {first['msg']}") from error
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def write(folder: Path, record: Record) -> None:
    """Write the record into a study directory, whole or not at all.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    atomic.write_json(folder / FILE, record.model_dump(mode="json"))


def _damaged(path: Path, what: str) -> StudyError:
    return StudyError(
        f"{path}: damaged ({what}); expected the record of looks as ensemble-mtl wrote it. "
        "Restore the file from a copy. Without one, move it away: verdicts then begin anew, at a stricter level if "
        "members were trained under a smaller plan."
    )
