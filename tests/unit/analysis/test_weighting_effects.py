"""Weightings compared in one study: a table of their own, and nothing else of the summary changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import fake_study

from ensemble_mtl.analysis import multiple_tests, statistics
from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.analysis.reading import usable_results
from ensemble_mtl.analysis.summary import Summary
from ensemble_mtl.analysis.summary_rows import WeightingEffect
from ensemble_mtl.report import html
from ensemble_mtl.report.inputs import ReportInputs
from ensemble_mtl.report.tables import all_tables, terminal_tables
from ensemble_mtl.report.weightings import effects
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member

NAMES = ("fixed", "dwa", "uncertainty")
SUBSETS = (("H", "C", "M"), ("H",), ("C",), ("M",))
BETTER = 0.8
"""Of the errors under ``dwa``."""


def compared(root: Path, **more: Any) -> Study:
    return fake_study.make_study(root, weightings=NAMES, subsets=SUBSETS, **more)


def finish(study: Study, member: Member) -> None:
    if member.weighting != "dwa":
        fake_study.finish(study, member)
        return
    errors = {task: BETTER * fake_study.error_of(member, task) for task in member.subset}
    names = ("rmse", "mae", "rmse_scaled", "mae_scaled")
    metrics = {task: {"test": dict.fromkeys(names, error)} for task, error in errors.items()}
    fake_study.finish(study, member, metrics=metrics, train_seconds=50.0)


def row_of(summary: Summary, task: str, weighting: str) -> WeightingEffect:
    place = (("H", "C", "M"), task, weighting)
    (found,) = [row for row in summary.weighting_effects if (row.subset, row.task, row.weighting) == place]
    return found


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Summary]:
    study = compared(tmp_path_factory.mktemp("compared"))
    for member in study.plan():
        finish(study, member)
    return study, gather(study)


def test_every_weighting_is_compared_with_the_first_by_seed(summary):
    study, found = summary
    assert found.complete
    assert found.weightings == NAMES
    assert len(found.weighting_effects) == 3 * 3
    members = [member for member in study.plan() if len(member.subset) == 3]
    errors = {
        name: np.array(
            [fake_study.error_of(m, "H") * (BETTER if name == "dwa" else 1) for m in members if m.weighting == name]
        )
        for name in NAMES
    }
    row = row_of(found, "H", "dwa")
    assert row.error.mean == pytest.approx(errors["dwa"].mean())
    assert row.error.std == pytest.approx(errors["dwa"].std(ddof=1))
    comparison, other = row.against_first, row_of(found, "H", "uncertainty").against_first
    assert comparison is not None
    assert other is not None
    differences = errors["dwa"] - errors["fixed"]
    low, high = statistics.interval(differences.mean(), differences.std(ddof=1) / np.sqrt(6), 6)
    assert comparison.difference == pytest.approx(differences.mean())
    assert comparison.ci95 == pytest.approx((low, high))
    assert comparison.percent == pytest.approx(100 * differences.mean() / errors["fixed"].mean())
    assert (comparison.verdict, other.verdict) == ("gains", "no evidence")
    assert (row.error.members, row.planned, comparison.units) == (6, 6, 6)
    assert (comparison.unit, comparison.variance) == ("seed", "seeds on one split")


def test_holm_corrects_over_all_comparisons_of_weightings(summary):
    _, found = summary
    comparisons = [row.against_first for row in found.weighting_effects if row.against_first]
    assert len(comparisons) == 2 * 3
    corrected = multiple_tests.holm([comparison.p for comparison in comparisons])
    assert [comparison.p_holm for comparison in comparisons] == pytest.approx(corrected)


def test_the_first_weighting_has_errors_and_times_but_no_comparison(summary):
    _, found = summary
    row = row_of(found, "C", "fixed")
    assert row.error.members == 6
    assert row.relative_seconds == 1.0
    assert row.against_first is None


def test_time_is_per_epoch_and_relative_to_the_first(summary):
    study, found = summary
    results = {m.id: r for m, r in usable_results(study, found.data.sha256)[0]}
    members = [member for member in study.plan() if len(member.subset) == 3]
    seconds = {
        name: np.mean([results[m.id].train_seconds / results[m.id].epochs for m in members if m.weighting == name])
        for name in NAMES
    }
    assert seconds["dwa"] > 2 * seconds["fixed"]
    row = row_of(found, "M", "dwa")
    assert row.seconds_per_epoch == pytest.approx(seconds["dwa"])
    assert row.relative_seconds == pytest.approx(seconds["dwa"] / seconds["fixed"])
    assert row.same_conditions


def test_all_else_is_as_if_the_first_weighting_were_the_only_one(summary, tmp_path: Path):
    study = fake_study.make_study(tmp_path, subsets=SUBSETS)
    fake_study.finish_all(study)
    alone, (_, both) = gather(study), summary
    assert alone.weighting_effects == ()
    for key in ("cells", "wall_clock", "cost", "comparisons", "curvature", "subsets"):
        assert getattr(both, key) == getattr(alone, key), key
    assert not effects(alone).rows


def test_figures_show_the_first_weighting(summary):
    study, found = summary
    assert {m.weighting for pairs in ReportInputs(study, found).members.values() for m, _ in pairs} == {"fixed"}


def test_the_table_is_in_the_terminal_the_tables_and_the_page(summary):
    _, found = summary
    for tables in (terminal_tables(found), all_tables(found)):
        (table,) = [table for table in tables if table.title == "Weightings of the tasks"]
    assert len(table.rows) == 9
    assert all(len(row) == len(table.header) for row in table.rows)
    row = next(row for row in table.rows if row[0].text == "H in HCM" and row[1].text == "dwa")
    assert [row[2].best, row[6].text] == [True, "gains"]
    assert "Holm-corrected over this table" in table.caption
    assert 'id="weightings"' in html.render(found, [])


def test_missing_members_are_told(tmp_path: Path):
    study = compared(tmp_path, seeds=3)
    for member in study.plan():
        if (member.weighting, member.seed) != ("dwa", 2):
            finish(study, member)
    found = gather(study)
    assert {(row.weighting, row.seed) for row in found.missing} == {("dwa", 2)}
    row = row_of(found, "H", "dwa")
    assert (row.error.members, row.planned) == (2, 3)
    notes = [row[2].note for row in effects(found).rows if row[1].text == "dwa"]
    assert set(notes) == {"(2/3)"}
    assert "k of n planned" in effects(found).caption
    assert ">HCM</strong>, dwa" in html.render(found, [])
    assert row.against_first is not None
    assert row.against_first.verdict == "too few seeds"
