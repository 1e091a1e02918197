"""A study that compares weightings, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.studies import TINY, call, results, status, write

STUDY = TINY.replace("seeds: 2", "seeds: 1\nweightings: [fixed, uncertainty, {name: curvature, of: eigenvalue}]")
GROUPS = ["HM", "HM-uncertainty", "HM-curvature-eigenvalue", "H", "M"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = write(tmp_path_factory.mktemp("weightings"), STUDY)
    done = call("run", config)
    assert done.returncode == 0, done.stderr
    assert "Weightings of the tasks" in done.stdout
    return config


def test_each_weighting_has_its_folder_and_its_row(finished: Path) -> None:
    root = finished.parent / "studies/tiny"
    assert sorted(path.parent.parent.name for path in results(root).values()) == sorted(GROUPS)
    printed = call("plan", finished).stdout
    assert [line.split()[0] for line in printed.splitlines()[2:7]] == GROUPS
    assert [line.split()[0] for line in call("status", finished).stdout.splitlines()[2:7]] == GROUPS
    assert [row["weighting"] for row in status(finished)["subsets"]] == [
        "fixed", "uncertainty", "curvature-eigenvalue", "fixed", "fixed",
    ]  # fmt: skip


def test_what_a_weighting_did_is_recorded(finished: Path) -> None:
    found = {}
    for path in results(finished.parent / "studies/tiny").values():
        lines = [json.loads(line) for line in (path.parent / "metrics.jsonl").read_text().splitlines()]
        found[path.parent.parent.name] = lines
    assert all("weights" not in line for name in ("HM", "H", "M") for line in found[name])
    for line in found["HM-uncertainty"][1:]:
        assert set(line["weights"]) == {"H", "M"}
        assert line["weights"] != {"H": 1.0, "M": 1.0}
    first, *others = found["HM-curvature-eigenvalue"]
    assert (first["weights"], first["weighting_seconds"]) == ({"H": 1.0, "M": 1.0}, 0.0)
    for line in others:
        assert sum(line["weights"].values()) == pytest.approx(2.0)
        assert 0 < line["weighting_seconds"] < line["seconds"]


def test_the_weightings_differ_and_start_from_the_same_weights(finished: Path) -> None:
    records = [json.loads(path.read_text()) for path in results(finished.parent / "studies/tiny").values()]
    own = [record for record in records if len(record["member"]["subset"]) == 2]
    errors = {record["metrics"]["H"]["test"]["rmse_scaled"] for record in own}
    assert len(errors) == 3
    assert len({probe["trace"] for record in own for probe in record["probes"] if probe["epoch"] == 0}) == 2  # tasks


def test_the_comparison_with_single_tasks_is_that_of_the_first(finished: Path) -> None:
    summary = json.loads((finished.parent / "studies/tiny/summary.json").read_text())
    assert all(cell["error"]["members"] == cell["planned"] == 1 for cell in summary["cells"])
    assert len(summary["weighting_effects"]) == 2 * 3
    assert summary["complete"]
