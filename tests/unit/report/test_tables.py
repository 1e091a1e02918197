from __future__ import annotations

import io
from pathlib import Path

import pytest
from helpers import fake_study
from rich.console import Console

from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.analysis.summary import Summary
from ensemble_mtl.report import tables
from ensemble_mtl.report.row_names import subset_name
from ensemble_mtl.report.table import (
    Cell,
    Table,
    p_value,
    plus_minus,
    readable,
    scientific,
    seconds,
    signed,
    to_markdown,
)
from ensemble_mtl.report.verdicts import headlines


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    study = fake_study.make_study(tmp_path_factory.mktemp("study"), seeds=12)
    for member in study.plan()[1:]:
        fake_study.finish(study, member)
    return gather(study)


def row(table: Table, name: str) -> list[str]:
    (found,) = [cells for cells in table.rows if cells[0].text == name]
    return [f"{cell.text} {cell.note}".strip() for cell in found]


def test_numbers_are_written_as_in_table_1() -> None:
    assert plus_minus(7.54e-3, 8.7e-4) == "7.54e-3 ± 8.70e-4"
    assert plus_minus(0.0102, None) == "1.02e-2"
    assert plus_minus(None, None) == "–"
    assert scientific(-123456.0) == "-1.23e5"
    assert scientific(None) == "–"


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        (0.12345, 0.0056, "0.1235 ± 0.0056"), (12.345, 0.5, "12.35 ± 0.50"), (1234.5, 60.0, "1234 ± 60"),
        (1e-7, 1e-8, "1.00e-7 ± 1.00e-8"), (3.0, None, "3.00"), (0.0, None, "0.00e0"), (None, None, "–"),
    ],
)  # fmt: skip
def test_physical_numbers_show_what_their_deviation_supports(mean: float | None, std: float | None, text: str) -> None:
    assert readable(mean, std) == text


def test_durations_take_a_fitting_unit() -> None:
    assert [seconds(value) for value in (3.2, 400.0, 9000.0)] == ["3.20 s", "6.67 min", "2.50 h"]


def test_signs_are_always_shown() -> None:
    assert [signed(value) for value in (-34.6, 0.62, 3.0, 0.0, 120.0, None)] == [
        "−35", "+0.62", "+3.0", "+0", "+120", "–",
    ]  # fmt: skip
    assert (p_value(0.0004), p_value(0.0312), p_value(None)) == ("< 0.001", "0.031", "–")
    assert (p_value(0.0498), p_value(0.04996), p_value(0.05), p_value(0.0502)) == (
        "0.0498",
        "0.04996",
        "0.050",
        "0.050",
    )


def test_table_1_has_its_rows_and_columns(summary: Summary) -> None:
    table = tables.errors(summary, "rmse_scaled", 1.0)
    names = ["MTL, HCM", "MTL, HC", "MTL, HM", "MTL, CM", "STL, H", "STL, C", "STL, M"]
    assert [cells[0].text for cells in table.rows] == names
    assert table.header == ("Trained", "H", "C", "M")
    assert row(table, "STL, C")[1] == row(table, "STL, C")[3] == "–"
    assert "sample standard deviation (ddof 1) over 11–12 members" in table.caption
    assert "seed only (one split)" in table.caption


def test_missing_members_are_marked(summary: Summary) -> None:
    assert row(tables.errors(summary, "rmse_scaled", 1.0), "MTL, HCM")[1].endswith("(11/12)")
    assert not row(tables.errors(summary, "rmse_scaled", 1.0), "MTL, HC")[1].endswith(")")


def test_physical_units_stand_in_the_header(summary: Summary) -> None:
    assert tables.errors(summary, "rmse", 1.0).header == ("Trained", "H (Ry)", "C (e)", "M (μB)")


def test_the_lowest_mean_of_each_column_is_marked(summary: Summary) -> None:
    table = tables.errors(summary, "rmse_scaled", 1.0)
    best = {(table.header[i], cells[0].text) for cells in table.rows for i, cell in enumerate(cells) if cell.best}
    for task in summary.tasks:
        cells = [c for c in summary.cells if (c.task, c.metric, c.fraction) == (task, "rmse_scaled", 1.0)]
        lowest = min(cells, key=lambda cell: cell.error.mean).subset
        assert [name for column, name in best if column.startswith(task)] == [subset_name(lowest)]


def test_times_name_the_stacks_that_their_deviation_is_over(summary: Summary, tmp_path: Path) -> None:
    table = tables.wall_clock(summary)
    assert "± sample standard deviation over the 2 stacks (a stack's time is divided evenly" in table.caption
    assert "±" in row(table, "STL, H")[1]
    study = fake_study.make_study(tmp_path, seeds=3)
    for member in study.plan():
        alone = member.subset == ("H",)
        fake_study.finish(study, member, stack_id=f"{member.subset}" if alone else f"{member.subset}-{member.seed}")
    some = gather(study)
    assert "±" not in row(tables.wall_clock(some), "STL, H")[1]
    assert "over the 3 stacks" in tables.wall_clock(some).caption
    assert tables.wall_clock(some).caption.endswith("among its members); none where there was one stack.")


def test_one_stack_has_no_deviation(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=3)
    for member in study.plan():
        fake_study.finish(study, member, stack_id="one")
    summary = gather(study)
    assert "without a deviation, since the members of a subset shared one stack" in tables.wall_clock(summary).caption
    for table in (tables.wall_clock(summary), tables.cost(summary)):
        assert not any("±" in cell.text for cells in table.rows for cell in cells)


def test_terminal_and_markdown_show_the_same_cells(summary: Summary) -> None:
    out = io.StringIO()
    tables.show(summary, Console(file=out, width=200))
    for table in tables.terminal_tables(summary):
        markdown = to_markdown(table)
        for cells in table.rows:
            assert all(cell.text in out.getvalue() for cell in cells)
            assert cells[0].text in markdown


def test_markdown_escapes_its_own_marks() -> None:
    text = to_markdown(Table("a*b", "<i>", ("x|y",), ((Cell("[k](l)", best=True, note="(1/2)"),),)))
    assert "a\\*b" in text
    assert "x\\|y" in text
    assert "&lt;i>" in text
    assert "**\\[k\\](l)** (1/2)" in text


def test_headlines_answer_in_plain_words(summary: Summary) -> None:
    found = {line.task: line for line in headlines(summary)}
    assert found["H"].text == "gains from M"
    assert found["H"].tone == "gains"
    assert "test RMSE in HM against alone" in found["H"].detail
    assert "12 paired seeds" in found["H"].detail
    assert found["C"].tone == "loses"
    assert "loses with H" in found["C"].text


def test_too_few_seeds_are_said_first_of_all(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=3)
    fake_study.finish_all(study)
    for line in headlines(gather(study)):
        assert line.text == "too few seeds to say"
        assert line.detail.startswith("3 matched; a verdict needs 5.")


def test_a_study_of_one_subset_compares_nothing(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1, subsets=(("H", "C", "M"),))
    fake_study.finish_all(study)
    summary = gather(study)
    assert {line.text for line in headlines(summary)} == {"not compared"}
    assert not tables.comparisons(summary).rows
    tables.show(summary, Console(file=io.StringIO()))
