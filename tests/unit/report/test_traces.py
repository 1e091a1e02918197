"""Traces keep their signs, their spread over members, and their own errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from helpers import fake_study
from matplotlib.container import ErrorbarContainer

from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.report.figures import traces
from ensemble_mtl.report.figures.traces import Trace, linear_threshold
from ensemble_mtl.report.inputs import WIDE, ReportInputs


def trace(mean: list[float], sem: list[float] | None = None) -> Trace:
    nothing = np.full(len(mean), np.nan)
    return Trace(np.arange(len(mean), dtype=float), np.array(mean), nothing, np.array(sem) if sem else nothing)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    study = fake_study.make_study(tmp_path_factory.mktemp("study"), seeds=3)
    fake_study.finish_all(study)
    return ReportInputs(study, gather(study))


def test_mean_deviation_and_error_are_over_members(found: ReportInputs) -> None:
    made = traces.traces(found, ("H", "C"))["C"]
    probes = found.probes(("H", "C"), "C")["end"]
    values = [probe.trace for probe in probes]
    assert made.epochs.tolist() == [0.0, np.mean([probe.epoch for probe in probes])]
    assert made.mean[1] == pytest.approx(np.mean(values))
    assert made.mean[1] < 0
    assert made.std[1] == pytest.approx(np.std(values, ddof=1))
    assert made.sem[1] == pytest.approx(np.mean([probe.trace_sem for probe in probes]))


def test_every_subset_has_a_panel_with_the_signs_kept(found: ReportInputs) -> None:
    figure = traces.draw(found, WIDE)
    assert figure is not None
    assert [axis.get_title() for axis in figure.axes] == ["HCM", "HC", "HM", "CM", "H", "C", "M"]
    assert len({axis.get_ylim() for axis in figure.axes}) == 1
    for axis, subset in zip(figure.axes, found.subsets, strict=True):
        assert axis.get_yscale() == "symlog"
        bars = [cast("Any", part) for part in axis.containers if isinstance(part, ErrorbarContainer)]
        assert len(bars) == len(subset)
        for part, task in zip(bars, subset, strict=True):
            expected = traces.traces(found, subset)[task]
            assert part.lines[0].get_ydata() == pytest.approx(expected.mean)
            segments = np.array(part.lines[2][0].get_segments())
            assert segments[:, 1, 1] - segments[:, 0, 1] == pytest.approx(2 * expected.sem)
        assert axis.get_ylim()[0] < 0 < axis.get_ylim()[1]


def test_a_single_member_has_no_band(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    fake_study.finish_all(study)
    figure = traces.draw(ReportInputs(study, gather(study)), WIDE)
    assert figure is not None
    assert not any("FillBetween" in type(part).__name__ for axis in figure.axes for part in axis.collections)


@pytest.mark.parametrize(
    ("mean", "sem", "expected"),
    [
        ([500.0, -30.0, 2.0], [1.0, 1.0, 5.0], 10.0),  # 2 ± 5 is nothing
        ([500.0, -30.0, 2.0], [1.0, 1.0, 0.5], 1.0),
        ([500.0, -30.0], None, 10.0),  # without errors all count
        ([1e9, 1e-3], [0.0, 0.0], 1e3),  # six decades at most
        ([0.2, -0.1], [9.0, 9.0], 0.1),  # nothing is told from 0
        ([0.0], [0.0], 1.0),
    ],
)
def test_the_axis_is_linear_below_what_is_told_from_0(
    mean: list[float], sem: list[float] | None, expected: float
) -> None:
    assert linear_threshold([trace(mean, sem)]) == pytest.approx(expected)


def test_of_many_subsets_the_largest_and_the_single_tasks_are_shown(
    found: ReportInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "left out" not in traces.caption(found)
    monkeypatch.setattr(traces, "_MAX_PANELS", 6)
    assert traces.shown(found) == [("H", "C", "M"), ("H",), ("C",), ("M",)]
    assert "3 subsets in between are left out" in traces.caption(found)
