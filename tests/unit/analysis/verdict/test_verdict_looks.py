from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from ensemble_mtl.analysis.verdict import looks
from ensemble_mtl.analysis.verdict.comparison import Setting, compare
from ensemble_mtl.analysis.verdict.estimate import across_splits
from ensemble_mtl.analysis.verdict.judgement import is_decided, judge
from ensemble_mtl.analysis.verdict.looks import Look, Record
from ensemble_mtl.analysis.verdict.pairs import Key, Name
from ensemble_mtl.analysis.verdict.result import Comparison
from ensemble_mtl.analysis.verdict.terms import Terms
from ensemble_mtl.core.errors import StudyError

NAMES: tuple[Name, ...] = ((("H", "C"), "H"), (("H", "C"), "C"))
RATIOS = np.random.default_rng(3).normal([[-0.12], [-0.04]], 0.06, (2, 48))
"""A clear gain, and one that takes more repeats."""


def comparison(ratios: np.ndarray, look: int = 1, setting: Setting | None = None) -> Comparison:
    multi: dict[Key, float] = {(repeat, repeat): math.exp(value) for repeat, value in enumerate(ratios)}
    return compare(multi, dict.fromkeys(multi, 1.0), Terms(comparisons=2, look=look, margin=0.01), setting)


def results(repeats: int, look: int) -> dict[Name, Comparison]:
    return {name: comparison(ratios[:repeats], look) for name, ratios in zip(NAMES, RATIOS, strict=True)}


def study() -> Record:
    return looks.declare(Record(), NAMES)


def look_at(record: Record, repeats: int) -> tuple[Record, dict[Name, Comparison]]:
    (family,) = record.families
    look = looks.current_look(family, repeats)
    current = results(repeats, look.number)
    record = looks.conclude(record, family, look, current)
    return record, looks.standing(record.families[0], current)


def test_decided_comparisons_keep_the_interval_of_their_look() -> None:
    first_record, first = look_at(study(), 12)
    assert [first[name].verdict for name in NAMES] == ["gains", "undecided"]
    record, later = look_at(first_record, 48)
    assert [look.number for look in record.families[0].looks] == [1, 2]
    assert later[NAMES[0]] == first[NAMES[0]]
    assert later[NAMES[1]].level == pytest.approx(0.008)
    assert later[NAMES[1]].units == 48
    assert later[NAMES[1]].verdict == "gains"


def test_a_record_decides_as_the_simulated_looks_do() -> None:
    random = np.random.default_rng(4)
    for _ in range(20):
        ratios = random.normal(-0.04, 0.06, 48)
        record, word = looks.declare(Record(), NAMES[:1]), np.array("undecided")
        for repeats in (12, 24, 48):
            look = looks.current_look(record.families[0], repeats)
            current = {NAMES[0]: comparison(ratios[:repeats], look.number)}
            record = looks.conclude(record, record.families[0], look, current)
            terms = Terms(comparisons=2, look=look.number, margin=0.01)
            fresh = judge(across_splits(ratios[:repeats, None]), terms).verdict
            word = np.where(is_decided(word), word, fresh)
        standing = looks.standing(record.families[0], current)
        assert standing[NAMES[0]].verdict == str(word)


def test_looking_again_at_the_same_plan_is_the_same_look() -> None:
    record, first = look_at(study(), 12)
    again, second = look_at(record, 12)
    assert again == record
    assert second == first


def test_subsets_that_are_added_start_a_family_with_its_own_looks() -> None:
    record, _ = look_at(study(), 12)
    added: Name = (("H", "M"), "H")
    extended = looks.declare(record, (*NAMES, added))
    assert [family.names for family in extended.families] == [NAMES, (added,)]
    assert extended.families[0] == record.families[0]
    assert looks.current_look(extended.families[1], 12).number == 1
    assert looks.declare(extended, (*NAMES, added)) == extended


@pytest.mark.parametrize(("trained_under", "number"), [((), 1), ((24,), 1), ((12, 24), 2), ((6, 12, 24, 12), 3)])
def test_a_lost_record_counts_the_plans_that_members_name(trained_under: tuple[int, ...], number: int) -> None:
    (family,) = study().families
    assert looks.current_look(family, 24, trained_under) == Look(repeats=24, number=number)
    assert looks.is_lost(family, 24, trained_under) == (number > 1)


def test_every_new_plan_is_a_further_look_whatever_its_size() -> None:
    record = study()
    for repeats, trained_under, number in ((24, (12,), 2), (48, (), 3), (36, (), 4), (48, (), 3), (96, (), 5)):
        look = looks.current_look(record.families[0], repeats, trained_under)
        assert look.number == number
        record = looks.conclude(record, record.families[0], look, {})


def test_a_record_that_names_all_plans_is_not_lost() -> None:
    record, _ = look_at(study(), 12)
    (family,) = record.families
    assert not looks.is_lost(family, 24, (12, 24))
    assert looks.current_look(family, 24, (12, 24)).number == 2
    assert looks.is_lost(family, 24, (6, 12, 24))
    assert looks.current_look(family, 24, (6, 12, 24)).number == 3


def test_interim_results_and_those_of_another_look_decide_nothing() -> None:
    record = study()
    (family,) = record.families
    look = Look(repeats=12, number=1)
    interim = {NAMES[0]: comparison(RATIOS[0, :9], 1, Setting(complete=False))}
    for wrong in (interim, results(12, 2), {(("H", "M"), "M"): comparison(RATIOS[0])}):
        with pytest.raises(ValueError, match=r"not a (verdict|comparison)"):
            looks.conclude(record, family, look, wrong)


def test_the_record_comes_back_from_its_file(tmp_path: Path) -> None:
    assert looks.read(tmp_path) == Record()
    record, _ = look_at(study(), 12)
    looks.write(tmp_path, record)
    assert looks.read(tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == [looks.FILE]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('{"format": 1, "families": [', "Expecting value"),
        ('{"format": 2, "families": []}', "format"),
        ('{"format": 1, "families": [{"names": []}, 3]}', r"families\.1"),
        ("[]", "the file"),
        ("\x80", "damaged"),
    ],
)
def test_a_damaged_record_is_one_clear_error(tmp_path: Path, content: str, what: str) -> None:
    (tmp_path / looks.FILE).write_bytes(content.encode("latin-1"))
    with pytest.raises(StudyError, match=what) as caught:
        looks.read(tmp_path)
    assert str(tmp_path / looks.FILE) in str(caught.value)
    assert "Restore" in str(caught.value)


def test_an_interval_that_was_tampered_with_is_noticed(tmp_path: Path) -> None:
    record, _ = look_at(study(), 12)
    looks.write(tmp_path, record)
    value = json.loads((tmp_path / looks.FILE).read_text())
    value["families"][0]["decided"][0]["result"]["interval"] = "narrow"
    (tmp_path / looks.FILE).write_text(json.dumps(value))
    with pytest.raises(StudyError, match=r"result\.interval"):
        looks.read(tmp_path)


def test_a_record_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / looks.FILE).mkdir()
    with pytest.raises(StudyError, match="cannot be read: Is a directory"):
        looks.read(tmp_path)
