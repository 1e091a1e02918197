from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import fake_study, summaries

from ensemble_mtl.analysis.curvature_pairs import MEASURES
from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.analysis.rank_correlation import RankCorrelation
from ensemble_mtl.analysis.statistics import MeanAndDeviation
from ensemble_mtl.analysis.summary import Summary
from ensemble_mtl.analysis.summary_rows import CurvaturePair, MismatchRow
from ensemble_mtl.report import curvature_tables, html, tables
from ensemble_mtl.report.table import readable
from ensemble_mtl.study import results


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    study = fake_study.make_study(tmp_path_factory.mktemp("study"), seeds=2)
    fake_study.finish_all(study)
    return gather(study)


def with_verdict(verdict: str, points: int) -> Summary:
    correlation = RankCorrelation(
        spearman=-0.91, ci95=(-0.98, -0.6), p=1e-4, p_holm=5e-4, points=points, verdict=verdict
    )
    row = MismatchRow(measure="energy_wasserstein", epoch="end", fraction=1.0, values=(), correlation=correlation)
    return summaries.summary(mismatch=(row,))


def of(mean: float | None, std: float | None, members: int) -> MeanAndDeviation:
    return MeanAndDeviation(mean=mean, std=std, members=members)


def test_every_pair_stands_at_every_snapshot(summary: Summary) -> None:
    table = curvature_tables.pairs(summary)
    assert [row[0].text for row in table.rows][:2] == ["H, C in HCM", "H, C in HCM"]
    assert len(table.rows) == 12
    assert {row[1].text for row in table.rows} == {"0", "end (20)"}
    cosine = summary.curvature_pairs[0].gradient_cosine
    assert table.rows[0][2].text == readable(cosine.mean, cosine.std)
    assert all(len(row) == len(table.header) for row in table.rows)


def test_the_terminal_shows_the_last_snapshot(summary: Summary) -> None:
    (table,) = [table for table in tables.terminal_tables(summary) if table.title == "Pairs of tasks"]
    assert {row[1].text for row in table.rows} == {"end (20)"}
    assert table.caption.endswith("Last snapshot; the report has all.")


def test_members_without_a_measure_are_counted() -> None:
    measures = {name: of(0.5, 0.1, 3) for name in MEASURES}
    measures |= {"trace_ratio": of(2.0, None, 1), "wasserstein": of(None, None, 0)}
    place = {"subset": ("H", "C"), "fraction": 1.0, "tasks": ("H", "C"), "epoch": 0, "epoch_mean": 0.0}
    row = CurvaturePair(**place, members=3, **measures)
    (cells,) = curvature_tables.pairs(summaries.summary(curvature_pairs=(row,))).rows
    assert [f"{cell.text} {cell.note}".strip() for cell in cells] == [
        "H, C in HC", "0", "0.50 ± 0.10", "0.50 ± 0.10", "–", "0.50 ± 0.10", "0.50 ± 0.10", "2.00 (1/3)", "3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("verdict", "points", "text"),
    [
        ("falling", 28, "gains where alike"), ("rising", 28, "gains where unlike"), ("no evidence", 28, "no evidence"),
        ("too few points", 5, "no evidence (too few points: 5 < 8)"),
    ],
)  # fmt: skip
def test_verdicts_in_words(verdict: str, points: int, text: str) -> None:
    ((*numbers, last),) = curvature_tables.mismatch(with_verdict(verdict, points)).rows
    assert f"{last.text} {last.note}".strip() == text
    assert last.best == text.startswith("gains")
    assert [cell.text for cell in numbers] == [
        "energy-weighted Wasserstein-1", "end", "−0.91", "−0.98 … −0.60", "< 0.001", str(points),
    ]  # fmt: skip


def test_the_page_has_both_tables_where_there_are_probes(summary: Summary) -> None:
    text = html.render(summary, [])
    assert "Does mismatch tell who gains?" in text
    assert "H, C in HCM" in text


def test_studies_without_pairs_have_neither(summary: Summary) -> None:
    without = summary.model_copy(update={"curvature_pairs": (), "mismatch": ()})
    assert not curvature_tables.pairs(without).rows
    assert not curvature_tables.mismatch(without).rows
    assert "Does mismatch tell" not in html.render(without, [])


def test_a_trace_that_overflowed_is_no_number(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    member = study.plan()[0]
    made = fake_study.finish(study, member)
    probes = [replace(probe, trace=math.inf, trace_sem=math.nan, eig_max=math.inf) for probe in made.probes]
    results.write(study.folder(member), replace(made, probes=probes))
    found = gather(study)
    assert {(row.trace_mean, row.trace_sem_mean, row.eig_max_mean) for row in found.curvature} == {(None, None, None)}
    table = tables.curvature(found)
    assert {(row[2].text, row[3].text, row[5].text) for row in table.rows} == {("–", "–", "–")}
    assert all(row[4].text != "–" for row in table.rows)
