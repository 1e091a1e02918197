"""The summary on disk: the same bytes every time, and one clear error where it is not one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import fake_study, summaries

from ensemble_mtl.analysis import summary_file
from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.core.errors import IncompleteStudyError, StoreError
from ensemble_mtl.study.directory import Study


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = fake_study.make_study(tmp_path_factory.mktemp("study"), seeds=2)
    fake_study.finish_all(study)
    summary_file.write_summary(study, gather(study))
    return study


def test_gathering_twice_gives_the_same_bytes_and_loads_again(gathered: Study) -> None:
    path = gathered.root / "summary.json"
    first = path.read_bytes()
    summary = gather(gathered)
    summary_file.write_summary(gathered, summary)
    assert path.read_bytes() == first
    assert summary_file.load(path) == summary


def test_every_number_is_written_as_it_was_computed(gathered: Study) -> None:
    written = json.loads((gathered.root / "summary.json").read_text())
    for cell, row in zip(gather(gathered).cells, written["cells"], strict=True):
        assert (list(cell.values), cell.error.mean, cell.error.std) == (
            row["values"], row["error"]["mean"], row["error"]["std"],
        )  # fmt: skip


def test_the_csv_has_a_row_per_cell_and_empty_fields_for_what_is_undefined(gathered: Study, tmp_path: Path) -> None:
    header, first, *others = (gathered.root / "summary.csv").read_text().splitlines()
    assert header == "subset,task,metric,fraction,unit,members,planned,mean,std,sem,ci95_low,ci95_high"
    assert first.startswith("HCM,H,rmse,1.0,Ry,2,2,")
    cell = gather(gathered).cells[0]
    assert cell.error.ci95 is not None
    values = (cell.error.mean, cell.error.std, cell.error.sem, *cell.error.ci95)
    assert [float(field) for field in first.split(",")[7:]] == list(values)
    assert len(others) == 12 * 4 - 1
    empty = summary_file.to_csv(gather(fake_study.make_study(tmp_path)))
    assert empty.splitlines()[1] == "HCM,H,rmse,1.0,Ry,0,6,,,,,"


def test_a_summary_that_was_not_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(IncompleteStudyError, match=r"summary\.json: no summary yet; gather the study first"):
        summary_file.load(tmp_path / "summary.json")


def test_a_summary_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "folder.json", tmp_path / "bytes.json"):
        if path.stem == "folder":
            path.mkdir()
        else:
            path.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(StoreError, match=rf"{path.name}: cannot be read"):
            summary_file.load(path)


def without(content: dict[str, Any], key: str) -> None:
    del content[key]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(version=1), "got a summary of version 1, expected 2; gather the study again"),
        (lambda c: c.update(version="2"), "got a summary of version 2, expected 2; gather the study again"),
        (lambda c: without(c, "version"), "not a summary of version 2: version: required, but missing"),
        (lambda c: without(c, "cells"), "cells: required, but missing; gather the study again"),
        (lambda c: c.update(gains=[]), "gains: unknown key"),
        (lambda c: c.update(complete=1), "complete: expected true or false"),
        (lambda c: c["cells"][3]["error"].update(mean="1.0"), "cells.3.error.mean: expected a number, got '1.0'"),
        (lambda c: c["cells"][3]["error"].update(members=2.5), "cells.3.error.members: expected an integer"),
        (lambda c: c["comparisons"][0]["against_alone"].update(verdict="draws"), "comparisons.0.against_alone.verdict"),
        (lambda c: c["mismatch"][0]["correlation"].update(ci95=[0.1]), "mismatch.0.correlation.ci95"),
    ],
)
def test_a_damaged_summary_is_refused_with_the_place(
    change: Callable[[dict[str, Any]], None], message: str, gathered: Study, tmp_path: Path
) -> None:
    content = json.loads((gathered.root / "summary.json").read_text())
    change(content)
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(content))
    with pytest.raises(StoreError) as error:
        summary_file.load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert str(error.value).endswith("gather the study again")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', "NaN"])
def test_something_else_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text(text)
    with pytest.raises(StoreError, match=r"not a summary of version 2: .*; gather the study again"):
        summary_file.load(path)


def test_a_truncated_summary_is_refused(tmp_path: Path) -> None:
    text = json.dumps(summaries.summary().model_dump(mode="json"))
    path = tmp_path / "summary.json"
    path.write_text(text)
    assert summary_file.load(path) == summaries.summary()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(StoreError, match="it is not JSON"):
        summary_file.load(path)
