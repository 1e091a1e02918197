from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers import fake_study

from ensemble_mtl.analysis import curvature as curvature_summary
from ensemble_mtl.analysis import gather
from ensemble_mtl.report import curvature_tables, html, tables
from ensemble_mtl.report.table import readable


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    study = fake_study.make_study(tmp_path_factory.mktemp("study"), seeds=2)
    fake_study.finish_all(study)
    return gather.gather(study)


def with_verdict(verdict: str, points: int) -> dict[str, Any]:
    row = {
        "measure": "energy_wasserstein", "epoch": "end", "fraction": 1.0, "values": [], "spearman": -0.91,
        "ci95": [-0.98, -0.6], "p": 1e-4, "p_holm": 5e-4, "points": points, "verdict": verdict,
    }  # fmt: skip
    return {"mismatch": [row]}


def test_every_pair_stands_at_every_snapshot(summary: dict[str, Any]) -> None:
    table = curvature_tables.pairs(summary)
    assert [row[0].text for row in table.rows][:2] == ["H, C in HCM", "H, C in HCM"]
    assert len(table.rows) == 12
    assert {row[1].text for row in table.rows} == {"0", "end (20)"}
    cosine = summary["curvature_pairs"][0]["gradient_cosine"]
    assert table.rows[0][2].text == readable(cosine["mean"], cosine["std"])
    assert all(len(row) == len(table.header) for row in table.rows)


def test_the_terminal_shows_the_last_snapshot(summary: dict[str, Any]) -> None:
    (table,) = [table for table in tables.terminal_tables(summary) if table.title == "Pairs of tasks"]
    assert {row[1].text for row in table.rows} == {"end (20)"}
    assert table.caption.endswith("Last snapshot; the report has all.")


def test_members_without_a_measure_are_counted() -> None:
    row = {"subset": ["H", "C"], "fraction": 1.0, "tasks": ["H", "C"], "epoch": 0, "epoch_mean": 0.0, "members": 3}
    some = {name: {"mean": 0.5, "std": 0.1, "members": 3} for name in curvature_summary.MEASURES}
    some["trace_ratio"] = {"mean": 2.0, "std": None, "members": 1}
    some["wasserstein"] = {"mean": None, "std": None, "members": 0}
    (cells,) = curvature_tables.pairs({"fractions": [1.0], "curvature_pairs": [{**row, **some}]}).rows
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


def test_the_page_has_both_tables_where_there_are_probes(summary: dict[str, Any]) -> None:
    text = html.render(summary, [])
    assert "Does mismatch tell who gains?" in text
    assert "H, C in HCM" in text


def test_old_summaries_have_neither(summary: dict[str, Any], tmp_path: Path) -> None:
    old = {key: value for key, value in summary.items() if key not in ("curvature_pairs", "mismatch")}
    assert not curvature_tables.pairs(old).rows
    assert not curvature_tables.mismatch(old).rows
    assert "Does mismatch tell" not in html.render(old, [])
