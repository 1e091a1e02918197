"""Histories as ``metrics.jsonl`` has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import fake_study

from ensemble_mtl.core.errors import IncompleteStudyError
from ensemble_mtl.study import histories
from ensemble_mtl.study.histories import history


def line(epoch: int, value: float | None) -> dict[str, Any]:
    return {"epoch": epoch, "lr": 0.1, "val_rmse_scaled": {"H": value}, "stack": 3}


def written(folder: Path, *lines: dict[str, Any]) -> Path:
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path


def test_quantities_of_tasks_are_read_and_the_later_line_of_an_epoch_counts(tmp_path: Path) -> None:
    history = histories.read(written(tmp_path, line(1, 3.0), line(2, 2.0), line(3, 9.0), line(2, None), line(3, 1.0)))
    assert [one.epoch for one in history] == [1, 2, 3]
    assert [one.by_task for one in history] == [{"val_rmse_scaled": {"H": value}} for value in (3.0, None, 1.0)]


@pytest.mark.parametrize("text", ['{"epoch": 1', "[]\n", "{}\n", '{"epoch": "x"}\n'])
def test_what_cannot_be_read_is_empty(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(text)
    assert not histories.read(tmp_path / "metrics.jsonl")
    assert not histories.read(tmp_path / "none.jsonl")


def test_a_history_is_arrays_over_epochs(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    member = study.plan()[0]
    with pytest.raises(IncompleteStudyError, match=r"metrics\.jsonl: expected a line for each epoch"):
        history(study, member)
    study.folder(member).mkdir(parents=True)
    extra = {**line(3, 1.0), "test_rmse_scaled": {"H": 4.0, "C": 5.0}}
    written(study.folder(member), line(1, 3.0), line(2, None), extra)
    arrays = history(study, member)
    assert arrays.epochs.tolist() == [1, 2, 3]
    assert {quantity: list(tasks) for quantity, tasks in arrays.by_task.items()} == {
        "val_rmse_scaled": ["H"], "test_rmse_scaled": ["H", "C"],
    }  # fmt: skip
    nan = float("nan")
    np.testing.assert_array_equal(arrays.by_task["val_rmse_scaled"]["H"], [3.0, nan, 1.0])
    np.testing.assert_array_equal(arrays.by_task["test_rmse_scaled"]["C"], [nan, nan, 5.0])
