"""Curves from histories, and the errors during training that are drawn from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import fake_study

from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.config.sections import NormalizeConfig
from ensemble_mtl.report.curves import curve
from ensemble_mtl.report.figures import learning, training
from ensemble_mtl.report.inputs import WIDE, ReportInputs
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.histories import EpochMetrics, History


def history(key: str, values: dict[int, float | None]) -> History:
    return [EpochMetrics(epoch, {key: {"H": value}}) for epoch, value in values.items()]


def test_mean_and_band_are_over_members() -> None:
    found = curve([history("x", {1: 1.0, 2: 0.5}), history("x", {1: 3.0, 2: 0.7})], "x", "H")
    assert found is not None
    assert found.epochs.tolist() == [1.0, 2.0]
    assert found.mean.tolist() == [2.0, pytest.approx(0.6)]
    assert found.std is not None
    assert found.std.tolist() == [pytest.approx(2**0.5), pytest.approx(0.02**0.5)]  # ddof 1
    assert found.members == 2
    low, high = found.band() or ([], [])
    assert [*low] == [pytest.approx(2 - 2**0.5), pytest.approx(0.6 - 0.02**0.5)]
    assert [*high] == [pytest.approx(2 + 2**0.5), pytest.approx(0.6 + 0.02**0.5)]


def test_the_band_stays_above_0_on_its_log_axis() -> None:
    found = curve([history("x", {1: 0.1}), history("x", {1: 9.9})], "x", "H")
    assert found is not None
    low, _ = found.band() or ([0.0], [])
    assert low[0] == pytest.approx(1.0)


def test_members_that_stopped_keep_their_last_value() -> None:
    found = curve([history("x", {5: 4.0}), history("x", {5: 2.0, 10: 1.0})], "x", "H")
    assert found is not None
    assert found.mean.tolist() == [3.0, 2.5]


def test_members_that_recorded_nothing_are_no_part_of_it() -> None:
    some = [history("x", {1: 2.0}), history("other", {1: 5.0}), history("x", {1: None}), []]
    found = curve(some, "x", "H")
    assert found is not None
    assert (found.mean.tolist(), found.std, found.members) == ([2.0], None, 1)
    assert found.band() is None
    assert curve(some, "x", "C") is None


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = fake_study.make_study(tmp_path, seeds=2)
    fake_study.finish_all(made)
    return made


def inputs(study: Study) -> ReportInputs:
    return ReportInputs(study, gather(study))


def rewrite(study: Study, change: Any) -> None:
    for member in study.plan():
        path = study.metrics(member)
        rows = [change(json.loads(line)) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_test_and_training_error_of_every_task(study: Study) -> None:
    found = training.curves(inputs(study))
    assert list(found) == ["HCM together", "each task alone"]
    assert {*found["HCM together"]} == {(part, task) for part in ("test", "train") for task in "HCM"}
    member = [m for m in study.plan() if m.subset == ("H",)]
    errors = [0.85 * fake_study.error_of(m, "H") * (1 + 12 * np.exp(-10 / 4)) for m in member]
    line = found["each task alone"]["test", "H"]
    assert line.epochs[4] == 10  # recorded every second epoch
    assert line.std is not None
    assert line.mean[4] == pytest.approx(np.mean(errors))
    assert line.std[4] == pytest.approx(np.std(errors, ddof=1))


@pytest.mark.parametrize(
    ("normalize", "axis", "words"),
    [
        ({"method": "standard"}, "MAE (standardised)", "in standard deviations of the target over the training part"),
        ({"method": "minmax", "fit_on": "all"}, "MAE (min-max scaled)", "as a share of the target's range over all"),
    ],
)
def test_the_axis_names_the_scale(tmp_path: Path, normalize: dict[str, Any], axis: str, words: str) -> None:
    made = fake_study.make_study(tmp_path, seeds=1, normalize=NormalizeConfig(**normalize))
    fake_study.finish_all(made)
    figure = training.draw(inputs(made), WIDE)
    assert figure is not None
    assert {part.get_ylabel() for part in figure.axes} == {axis}
    assert words in training.caption(inputs(made))


def test_without_test_errors_validation_stands_in(study: Study) -> None:
    rewrite(study, lambda row: {key: value for key, value in row.items() if key != "test_mae_scaled"})
    assert {part for part, _ in training.curves(inputs(study))["HCM together"]} == {"train", "val"}
    assert "validation stands in" in training.caption(inputs(study))
    assert "MAE" in training.caption(inputs(study))


def test_a_study_from_before_mae_was_recorded_shows_rmse(study: Study) -> None:
    rewrite(study, lambda row: {key: value for key, value in row.items() if "mae" not in key})
    found = inputs(study)
    assert {part for part, _ in training.curves(found)["HCM together"]} == {"train", "val"}
    assert "before mean absolute errors were recorded" in training.caption(found)
    figure = training.draw(found, WIDE)
    assert figure is not None
    assert figure.axes[0].get_ylabel() == "RMSE (min-max scaled)"


def test_the_oldest_histories_are_still_drawn(study: Study) -> None:
    rewrite(study, lambda row: {"epoch": row["epoch"], "val_rmse_scaled": row["val_rmse_scaled"]})
    found = inputs(study)
    assert {part for part, _ in training.curves(found)["HCM together"]} == {"val"}
    assert training.draw(found, WIDE) is not None
    assert learning.draw(found, WIDE) is not None
