"""Table 1 of Lupo Pasini 2022 beside a study."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import summaries
from helpers.commands import call

from ensemble_mtl.analysis import json_model
from ensemble_mtl.analysis.statistics import spread
from ensemble_mtl.analysis.summary import Summary
from ensemble_mtl.analysis.summary_rows import ErrorCell, Metric, WallClockRow
from ensemble_mtl.core.storage import atomic
from ensemble_mtl.report.records import Table1Cell, Table1Record
from ensemble_mtl.reproduce import table_1

SEEDS = np.linspace(-1, 1, table_1.MEMBERS) / np.linspace(-1, 1, table_1.MEMBERS).std(ddof=1)
"""Mean 0 and sample standard deviation 1."""


def summary(**shift: float) -> Summary:
    """A study whose errors are the published ones, but for a shift in per cent of those of ``task_in_subset``."""
    cells = []
    for subset, row in table_1.PUBLISHED.items():
        for task, (mean, std) in row.items():
            shifted = mean * (1 + shift.get(f"{task}_in_{subset}", 0.0) / 100)
            cells.append(cell(subset, task, (shifted + std * SEEDS).tolist()))
            # other metrics and parts of the training data are not what the table has
            cells.append(cell(subset, task, [7.0] * table_1.MEMBERS, fraction=0.5))
            cells.append(cell(subset, task, [7.0] * table_1.MEMBERS, metric="rmse"))
    return summaries.summary(
        study="fept",
        data=summaries.data(graphs=32015),
        tasks=summaries.tasks(**table_1.TARGETS),
        wall_clock=tuple(
            clock(subset, fraction, epochs)
            for subset in table_1.PUBLISHED
            for fraction, epochs in ((1.0, 40.0 + len(subset)), (0.5, 7.0))
        ),
        cells=tuple(cells),
    )


def cell(
    subset: str, task: str, values: list[float], fraction: float = 1.0, metric: Metric = "rmse_scaled"
) -> ErrorCell:
    return ErrorCell(
        subset=tuple(subset), fraction=fraction, task=task, metric=metric, unit="scaled", planned=len(values),
        error=spread(values), values=tuple(values), ids=tuple(map(str, range(len(values)))),
    )  # fmt: skip


def clock(subset: str, fraction: float, epochs: float) -> WallClockRow:
    return WallClockRow(
        subset=tuple(subset), fraction=fraction, mean_seconds=1.0, std_seconds=None, members=table_1.MEMBERS, stacks=1,
        stack_sizes=(table_1.MEMBERS,), epochs_mean=epochs, devices=("cpu",), num_parameters=10,
    )  # fmt: skip


def changed(content: Summary, **changes: Any) -> Summary:
    return content.model_copy(update=changes)


def with_values(content: Summary, values: Callable[[ErrorCell], tuple[float, ...]]) -> Summary:
    """The same study with other errors, whose statistics follow."""
    return changed(
        content,
        cells=tuple(
            c.model_copy(update={"values": values(c), "error": spread(values(c)), "ids": c.ids[: len(values(c))]})
            for c in content.cells
        ),
    )


def study(folder: Path, content: Summary) -> Path:
    folder.mkdir(exist_ok=True)
    atomic.write_json(folder / "summary.json", content.model_dump(mode="json"))
    return folder


def rows(content: Summary, tmp_path: Path) -> dict[str, Table1Cell]:
    found = table_1.compute(table_1.Options(study=study(tmp_path / "study", content)))
    assert isinstance(found.record, Table1Record)
    return {f"{cell.task} in {cell.subset}": cell for cell in found.record.cells}


def test_the_published_study_agrees_with_itself(tmp_path: Path) -> None:
    code, out, _ = call("table-1", "--study", study(tmp_path / "study", summary()), "--out", tmp_path)
    assert code == 0
    assert "agrees: 12 of 12 test errors" in out
    assert "9 of 9 effects" in out
    assert "Study fept, 32,015 graphs." in out
    (line,) = [line for line in out.splitlines() if line.startswith(" C in HCM") and "…" in line]
    assert line.split()[-2:] == ["alike", "43"]
    assert {path.name for path in tmp_path.glob("table-1.*")} == {"table-1.svg", "table-1.json"}


def test_the_published_effects_are_those_of_the_paper(tmp_path: Path) -> None:
    """Its text: H gains from M; C and M are slightly better alone."""
    found = rows(summary(), tmp_path)
    verdicts = {name: cell.effect.verdict for name, cell in found.items() if cell.effect}
    assert {name: verdict for name, verdict in verdicts.items() if name[0] == "H"} == {
        "H in HCM": "gains", "H in HC": "gains", "H in HM": "gains",
    }  # fmt: skip
    assert verdicts["C in HC"] == verdicts["M in HM"] == "loses"
    assert verdicts["C in CM"] == "no evidence"  # 5.94e-3 both
    effect = found["H in HM"].effect
    assert effect is not None
    assert effect.percent == pytest.approx(100 * (6.64e-3 / 1.02e-2 - 1), rel=1e-12)


@pytest.mark.parametrize(("percent", "word"), [(20.0, "higher"), (-20.0, "lower")])
def test_a_cell_that_differs_is_named(percent: float, word: str, tmp_path: Path) -> None:
    code, out, _ = call("table-1", "--study", study(tmp_path / "study", summary(C_in_CM=percent)), "--out", tmp_path)
    assert code == 1
    assert "does not agree: 11 of 12 test errors" in out
    (line,) = [line for line in out.splitlines() if word in line and "…" in line]
    assert line.split()[:3] == ["C", "in", "CM"]
    found = json.loads((tmp_path / "table-1.json").read_text())["cells"]
    assert [row["percent"] for row in found if not row["agrees"]] == [pytest.approx(percent)]


@pytest.mark.parametrize("others", ["are not planned", "have no members yet"])
def test_a_study_of_some_cells_is_compared_in_those(others: str, tmp_path: Path) -> None:
    content = summary()
    kept = (("H",), ("H", "M"))
    if others == "are not planned":
        content = changed(content, cells=tuple(cell for cell in content.cells if cell.subset in kept))
    else:
        content = with_values(content, lambda cell: cell.values if cell.subset in kept else ())
    code, out, _ = call("table-1", "--study", study(tmp_path / "study", content), "--out", tmp_path)
    assert code == 1  # it is not the table
    assert "3 of 3 test errors" in out
    assert "1 of 1 effects" in out
    found = rows(content, tmp_path)
    assert found["C in CM"].found is found["C in CM"].agrees is None


def test_tasks_may_have_other_names_and_another_order(tmp_path: Path) -> None:
    renamed = json.loads(summary().model_dump_json().replace('"H"', '"enthalpy"'))
    for row in (*renamed["cells"], *renamed["wall_clock"]):
        row["subset"].reverse()
    found = rows(json_model.parse(json.dumps(renamed), Summary), tmp_path)
    assert found["H in HM"].study_subset == ("enthalpy", "M")
    names = {"study_subset", "study_task"}
    assert {name: cell.model_dump(exclude=names) for name, cell in found.items()} == {
        name: cell.model_dump(exclude=names) for name, cell in rows(summary(), tmp_path).items()
    }


def test_other_tasks_are_no_part_of_the_table(tmp_path: Path) -> None:
    content = summary()
    more = tuple(cell("HV", task, [9.0] * 12) for task in "HV")
    tasks = summaries.tasks(**table_1.TARGETS, V="volume")
    assert rows(changed(content, tasks=tasks, cells=content.cells + more), tmp_path) == rows(content, tmp_path)


@pytest.mark.parametrize("members", [1, 4])
def test_nothing_is_said_of_few_members(members: int, tmp_path: Path) -> None:
    content = with_values(summary(), lambda cell: cell.values[:members])
    code, out, _ = call("table-1", "--study", study(tmp_path / "study", content), "--out", tmp_path)
    assert code == 1
    assert "0 of 0 test errors" in out
    assert f"(n = {members})" in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"data": summaries.data(fit_on="train")},
            "got targets normalised by minmax over train, expected minmax over all",
        ),
        (
            {"tasks": summaries.tasks(H="mixing_enthalpy")},
            "no task with the target charge_transfer, magnetic_moment, expected",
        ),
        ({"synthetic": True}, "got synthetic data, expected FePt"),
        ({"splits": (0, 1)}, "got 2 splits, expected one"),
        ({"version": 1}, "got a summary of version 1, expected 2; gather the study again"),
    ],
)
def test_another_study_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    code, out, err = call(
        "table-1", "--study", study(tmp_path / "study", changed(summary(), **change)), "--out", tmp_path
    )
    assert (code, out) == (2, "")
    assert "summary.json" in err
    assert message in err


def test_a_study_that_is_not_gathered_is_named(tmp_path: Path) -> None:
    code, _, err = call("table-1", "--study", tmp_path)
    assert code == 2
    assert f"gather the study first: ensemble-mtl gather CONFIG --out {tmp_path}" in err
    (tmp_path / "summary.json").write_text("{")
    assert "not a summary of version 2" in call("table-1", "--study", tmp_path)[2]
    assert "Missing option '--study'" in call("table-1")[2]
