"""Table 1 of Lupo Pasini 2022 beside a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import call

from ensemble_mtl.reproduce import table_1

SEEDS = np.linspace(-1, 1, table_1.MEMBERS) / np.linspace(-1, 1, table_1.MEMBERS).std(ddof=1)
"""Mean 0 and sample standard deviation 1."""


def summary(**shift: float) -> dict[str, Any]:
    """Of a study whose errors are the published ones, but for a shift in per cent of those of ``task_in_subset``."""
    cells = [
        {
            "subset": list(subset),
            "task": task,
            "metric": metric,
            "fraction": fraction,
            "values": (mean * (1 + shift.get(f"{task}_in_{subset}", 0.0) / 100) + std * SEEDS).tolist(),
        }
        for subset, row in table_1.PUBLISHED.items()
        for task, (mean, std) in row.items()
        for metric, fraction in (("rmse_scaled", 1.0), ("rmse_scaled", 0.5), ("rmse", 1.0))
    ]
    for cell in cells:  # other metrics and parts of the training data are not what the table has
        if (cell["metric"], cell["fraction"]) != ("rmse_scaled", 1.0):
            cell["values"] = [7.0] * table_1.MEMBERS
    return {
        "study": "fept",
        "complete": True,
        "synthetic": False,
        "splits": [0],
        "data": {"normalize": dict(table_1.NORMALIZED), "graphs": 32015},
        "wall_clock": [
            {"subset": list(subset), "fraction": fraction, "members": table_1.MEMBERS, "epochs_mean": epochs}
            for subset in table_1.PUBLISHED
            for fraction, epochs in ((1.0, 40.0 + len(subset)), (0.5, 7.0))
        ],
        "tasks": {task: {"target": target} for task, target in table_1.TARGETS.items()},
        "cells": cells,
    }


def study(folder: Path, content: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(content))
    return folder


def rows(content: dict[str, Any], tmp_path: Path) -> dict[str, dict[str, Any]]:
    found = table_1.compute(table_1.Options(study=study(tmp_path / "study", content)))
    return {f"{row['task']} in {row['subset']}": row for row in found.record["cells"]}


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
    verdicts = {cell: row["effect"]["verdict"] for cell, row in found.items() if row["effect"]}
    assert {cell: verdict for cell, verdict in verdicts.items() if cell[0] == "H"} == {
        "H in HCM": "gains", "H in HC": "gains", "H in HM": "gains",
    }  # fmt: skip
    assert verdicts["C in HC"] == verdicts["M in HM"] == "loses"
    assert verdicts["C in CM"] == "no evidence"  # 5.94e-3 both
    assert found["H in HM"]["effect"]["percent"] == pytest.approx(100 * (6.64e-3 / 1.02e-2 - 1), rel=1e-12)


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
    kept = [cell for cell in content["cells"] if cell["subset"] in (["H"], ["H", "M"])]
    rest = [{**cell, "values": []} for cell in content["cells"] if cell not in kept]
    content["cells"] = kept if others == "are not planned" else [*kept, *rest]
    code, out, _ = call("table-1", "--study", study(tmp_path / "study", content), "--out", tmp_path)
    assert code == 1  # it is not the table
    assert "3 of 3 test errors" in out
    assert "1 of 1 effects" in out
    found = rows(content, tmp_path)
    assert found["C in CM"]["found"] is found["C in CM"]["agrees"] is None


def test_tasks_may_have_other_names_and_another_order(tmp_path: Path) -> None:
    renamed = json.loads(json.dumps(summary()).replace('"H"', '"enthalpy"'))
    for row in (*renamed["cells"], *renamed["wall_clock"]):
        row["subset"].reverse()
    found, expected = rows(renamed, tmp_path), rows(summary(), tmp_path)
    assert found["H in HM"]["study_subset"] == ["enthalpy", "M"]
    for row in (*found.values(), *expected.values()):
        del row["study_subset"], row["study_task"]
    assert found == expected


def test_other_tasks_are_no_part_of_the_table(tmp_path: Path) -> None:
    content = summary()
    content["tasks"]["V"] = {"target": "volume"}
    more = {"subset": ["H", "V"], "metric": "rmse_scaled", "fraction": 1.0, "values": [9.0] * 12}
    content["cells"] += [{**more, "task": "H"}, {**more, "task": "V"}]
    assert rows(content, tmp_path) == rows(summary(), tmp_path)


@pytest.mark.parametrize("members", [1, 4])
def test_nothing_is_said_of_few_members(members: int, tmp_path: Path) -> None:
    content = summary()
    for cell in content["cells"]:
        cell["values"] = cell["values"][:members]
    code, out, _ = call("table-1", "--study", study(tmp_path / "study", content), "--out", tmp_path)
    assert code == 1
    assert "0 of 0 test errors" in out
    assert f"(n = {members})" in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"normalize": {"method": "minmax", "fit_on": "train"}}}, "got targets normalised by"),
        ({"tasks": {"H": {"target": "mixing_enthalpy"}}}, "no task has the target charge_transfer, magnetic_moment"),
        ({"synthetic": True}, "got synthetic data, expected FePt"),
        ({"splits": [0, 1]}, "got 2 splits, expected one"),
        ({"cells": 3}, "no summary of a study"),
    ],
)
def test_another_study_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    code, out, err = call("table-1", "--study", study(tmp_path / "study", {**summary(), **change}), "--out", tmp_path)
    assert (code, out) == (2, "")
    assert "summary.json" in err
    assert message in err


def test_a_study_that_is_not_gathered_is_named(tmp_path: Path) -> None:
    code, _, err = call("table-1", "--study", tmp_path)
    assert code == 2
    assert f"gather the study first: ensemble-mtl gather CONFIG --out {tmp_path}" in err
    (tmp_path / "summary.json").write_text("{")
    assert "no summary of a study" in call("table-1", "--study", tmp_path)[2]
    assert "Missing option '--study'" in call("table-1")[2]
