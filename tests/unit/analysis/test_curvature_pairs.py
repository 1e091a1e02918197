"""Pairs of tasks, and whether mismatch tells who gains, on numbers made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers import fake_study
from helpers.probes import probe_result

from ensemble_mtl.analysis.comparison import compare
from ensemble_mtl.analysis.curvature_pairs import MEASURES, pair_rows
from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.analysis.groups import Groups
from ensemble_mtl.analysis.mismatch import mismatch_rows
from ensemble_mtl.analysis.statistics import MeanAndDeviation
from ensemble_mtl.analysis.summary import Summary
from ensemble_mtl.analysis.summary_rows import ComparisonRow, CurvaturePair, MismatchRow
from ensemble_mtl.study import results
from ensemble_mtl.study.plan import Member
from ensemble_mtl.study.results import MemberResult, ProbeResult


def probe(task: str, epoch: int, trace: float, sem: float = 0.1, **pairs: dict[str, float]) -> ProbeResult:
    return probe_result(task=task, epoch=epoch, trace=trace, trace_sem=sem, pairs=pairs)


def trained(probes: list[ProbeResult]) -> MemberResult:
    return MemberResult({}, "", {}, {}, 5, 5, False, 1.0, 1.0, 1, "", {}, "cpu", "float64", {}, probes=probes)


def groups(*members: list[ProbeResult]) -> Groups:
    return {
        (("A", "B"), 1.0): [(Member(f"{i}", ("A", "B"), i, 0, 1.0), trained(found)) for i, found in enumerate(members)]
    }


def of(mean: float | None, std: float | None, members: int) -> MeanAndDeviation:
    return MeanAndDeviation(mean=mean, std=std, members=members)


def alike(cosine: float) -> dict[str, float]:
    return {"gradient_cosine": cosine, "eigenvector_overlap": 0.5, "wasserstein": 2.0, "energy_wasserstein": 0.25,
            "outlier_wasserstein": 1.0}  # fmt: skip


def test_every_measure_has_its_mean_and_deviation_over_members() -> None:
    (row,) = pair_rows(
        groups(
            [probe("A", 3, 6.0, B=alike(0.2)), probe("B", 3, 2.0, A=alike(0.2))],
            [probe("A", 3, -4.0, B=alike(0.6)), probe("B", 3, 4.0, A=alike(0.6))],
        ),
        ends=False,
    )
    assert (row.tasks, row.epoch, row.epoch_mean, row.members) == (("A", "B"), 3, 3.0, 2)
    cosine, ratio = row.gradient_cosine, row.trace_ratio
    assert (cosine.mean, cosine.std, cosine.members) == (pytest.approx(0.4), pytest.approx(0.08**0.5), 2)
    assert row.wasserstein == row.measure("wasserstein") == of(2.0, 0.0, 2)
    assert (ratio.mean, ratio.std, ratio.members) == (pytest.approx(1.0), pytest.approx(8**0.5), 2)  # 3 and −1
    assert row.trace_difference.mean == pytest.approx(0.75)  # 1/2, and 1 for unlike signs


def test_a_trace_within_its_error_of_0_divides_nothing() -> None:
    (row,) = pair_rows(
        groups([probe("A", 0, 1.0), probe("B", 0, 0.1, sem=0.06)], [probe("A", 0, 1.0), probe("B", 0, 0.5)]),
        ends=False,
    )
    assert row.trace_ratio == of(2.0, None, 1)
    assert row.gradient_cosine == of(None, None, 0)  # probes from before it was measured


def test_last_epochs_come_together_and_last() -> None:
    rows = pair_rows(
        groups(
            [probe(task, epoch, 1.0) for task in "AB" for epoch in (0, 4)],
            [probe(task, epoch, 1.0) for task in "AB" for epoch in (0, 6)],
        ),
        ends=True,
    )
    assert [(row.epoch, row.epoch_mean, row.members) for row in rows] == [(0, 0.0, 2), ("end", 5.0, 2)]


def pair(subset: str, tasks: str, **means: float | None) -> CurvaturePair:
    first, second = tasks
    measures = {name: of(means.get(name), None, 1) for name in MEASURES}
    place = {"subset": tuple(subset), "fraction": 1.0, "tasks": (first, second)}
    return CurvaturePair(**place, epoch=0, epoch_mean=0.0, members=1, **measures)


def gain(subset: str, task: str, percent: float | None, fraction: float = 1.0) -> ComparisonRow:
    comparison = compare({}, {}).model_copy(update={"percent": percent})
    place = {"subset": tuple(subset), "task": task, "fraction": fraction}
    return ComparisonRow(**place, metric="rmse_scaled", against_alone=comparison)


def by_measure(rows: tuple[MismatchRow, ...]) -> dict[str, MismatchRow]:
    return {row.measure: row for row in rows}


def test_a_point_is_a_task_with_all_of_its_partners() -> None:
    found = [
        pair("ABC", "AB", gradient_cosine=0.5, wasserstein=1.0), pair("ABC", "AC", gradient_cosine=-0.1),
        pair("ABC", "BC", gradient_cosine=0.3, wasserstein=4.0), pair("AB", "AB", gradient_cosine=0.9, wasserstein=2.0),
    ]  # fmt: skip
    gains = [gain("ABC", "A", -12.0), gain("AB", "B", 5.0), gain("AB", "A", None), gain("AB", "A", -1.0, 0.5)]
    rows = by_measure(mismatch_rows(gains, found, 1.0))
    points = rows["gradient_cosine"].values
    assert [(p.subset, p.task, p.gain_percent) for p in points] == [
        (("A", "B", "C"), "A", 12.0), (("A", "B"), "B", -5.0),
    ]  # fmt: skip
    assert [p.mismatch for p in points] == [pytest.approx(0.8), pytest.approx(0.1)]  # 1 − mean cosine
    # the distance of A and C is not known, so that of A with its partners is not either
    assert [p.task for p in rows["wasserstein"].values] == ["B"]
    assert rows["gradient_cosine"].correlation.verdict == "too few points"


@pytest.mark.parametrize(("sign", "verdict"), [(1.0, "falling"), (-1.0, "rising")])
def test_mismatch_that_goes_with_the_loss_is_found(sign: float, verdict: str) -> None:
    letters = "ABCDEFGH"
    found = [pair(f"X{one}", f"X{one}", energy_wasserstein=0.1 * k, wasserstein=1.0) for k, one in enumerate(letters)]
    gains = [
        gain(f"X{one}", task, sign * 3.0 * k + (task == "X")) for k, one in enumerate(letters) for task in "X" + one
    ]
    correlations = {row.measure: row.correlation for row in mismatch_rows(gains, found, 1.0)}
    assert correlations["energy_wasserstein"].points == 16
    assert correlations["energy_wasserstein"].verdict == verdict
    assert correlations["wasserstein"].verdict == "no evidence"  # a constant tells nothing
    assert correlations["trace_difference"].points == 0


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    study = fake_study.make_study(tmp_path_factory.mktemp("study"), seeds=2)
    fake_study.finish_all(study)
    return gather(study)


def test_the_summary_holds_pairs_and_mismatch(summary: Summary) -> None:
    assert len(summary.curvature_pairs) == 2 * (3 + 3)
    assert {row.epoch for row in summary.mismatch} == {0, "end"}
    assert {row.correlation.points for row in summary.mismatch} == {9}


def test_results_without_pairs_still_gather(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=2)
    for member in study.plan():
        made = fake_study.finish(study, member)
        results.write(study.folder(member), replace(made, probes=[replace(p, pairs={}) for p in made.probes]))
    summary = gather(study)
    assert all(row.gradient_cosine.members == 0 for row in summary.curvature_pairs)
    assert {row.correlation.points for row in summary.mismatch} == {0, 9}  # only traces are known
