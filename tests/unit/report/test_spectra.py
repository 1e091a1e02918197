"""Smoothed densities keep their mass, and windows hold what they say."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import fake_study
from helpers.probes import probe_result

from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.report.figures import spectra, spectra_zoom, spectral_panels
from ensemble_mtl.report.figures.spectral_panels import KERNEL, REACH, density, full_window, smoothed, zoom_window
from ensemble_mtl.report.inputs import NARROW, WIDE, ReportInputs
from ensemble_mtl.study import results
from ensemble_mtl.study.results import ProbeResult


def probe(nodes: list[list[float]], weights: list[list[float]]) -> ProbeResult:
    return probe_result(eig_min=-1.0, eig_max=3.0, nodes=np.array(nodes), weights=np.array(weights))


TWO_STARTS = probe([[-1.0, 2.0, np.nan], [0.0, 1.0, 3.0]], [[0.25, 0.75, 0.0], [0.2, 0.3, 0.5]])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    study = fake_study.make_study(tmp_path_factory.mktemp("study"), seeds=2)
    fake_study.finish_all(study)
    return ReportInputs(study, gather(study))


def test_smoothed_density_keeps_mass_and_mean() -> None:
    grid = np.linspace(-3, 5, 4001)
    values = density(TWO_STARTS, grid, 0.05)
    step = grid[1] - grid[0]
    # the trapezoid rule is exact to rounding for a Gaussian that is many steps wide
    assert values.sum() * step == pytest.approx(1.0, rel=1e-9)
    assert (values * grid).sum() * step == pytest.approx((1.25 + 1.8) / 2, rel=1e-9)


def test_the_full_window_holds_the_whole_density() -> None:
    other = probe([[-40.0, 0.5]], [[0.01, 0.99]])
    window = full_window([TWO_STARTS, other])
    grid, values, width = smoothed([TWO_STARTS, other], window)
    assert width == pytest.approx(KERNEL * (window[1] - window[0]))
    assert window == pytest.approx((-40 - REACH * width, 3 + REACH * width))
    # an outermost eigenvalue loses the part of its Gaussian that lies beyond the window
    assert np.trapezoid(values, grid) == pytest.approx(1.0, abs=math.erfc(REACH / math.sqrt(2)))


def test_members_count_alike() -> None:
    left, right = probe([[-1.0]], [[1.0]]), probe([[1.0]], [[1.0]])
    grid, values, _ = smoothed([left, right, right], (-2.0, 2.0))
    assert np.trapezoid(values[grid > 0], grid[grid > 0]) == pytest.approx(2 / 3, rel=1e-6)


def test_the_zoom_leaves_outliers_out() -> None:
    bulk = probe([[-0.5, 0.1, 0.2, 90.0]], [[0.2, 0.4, 0.395, 0.005]])
    assert zoom_window([bulk]) == pytest.approx((-1.8, 1.8))  # 2 % of the way to 90
    wide = probe([[-0.5, 0.1, 9.0, 90.0]], [[0.2, 0.4, 0.395, 0.005]])
    assert zoom_window([wide]) == (-9.0, 9.0)
    assert zoom_window([bulk, wide]) == (-9.0, 9.0)  # holds 99 % of each
    exactly = probe([[1.0, 5.0]], [[0.99, 0.01]])
    assert zoom_window([exactly]) == (-1.0, 1.0)


def test_a_spectrum_of_zeros_has_a_window() -> None:
    flat = probe([[0.0]], [[1.0]])
    for window in (full_window([flat]), zoom_window([flat])):
        assert window == (-1.0, 1.0)
        assert np.isfinite(smoothed([flat], window)[1]).all()


@pytest.mark.parametrize("figure", [spectra, spectra_zoom])
def test_a_column_per_snapshot_and_rows_together_and_alone(figure, found: ReportInputs) -> None:
    drawn = figure.draw(found, WIDE)
    titles = [axis.get_title() for axis in drawn.axes]
    assert titles == ["together, epoch 0", "together, end", "alone, epoch 0", "alone, end"]
    assert [len(axis.get_lines()) for axis in drawn.axes] == [3, 3, 3, 3]
    assert drawn.axes[0].get_xlim() == drawn.axes[2].get_xlim()
    assert all(f"σ = {KERNEL * np.ptp(axis.get_xlim()):.2g}" in axis.texts[0].get_text() for axis in drawn.axes)
    assert len(figure.draw(found, NARROW).axes) == 4


def test_of_many_snapshots_five_are_shown_and_the_others_named(
    found: ReportInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    every: dict[int | str, dict] = {epoch: {"H": [TWO_STARTS]} for epoch in (0, 1, 2, 4, 8, 16)}
    monkeypatch.setattr(spectral_panels, "rows", lambda _: {"alone": {**every, "end": {"H": [TWO_STARTS]}}})
    assert spectral_panels.snapshots(spectral_panels.rows(found)) == [0, 2, 4, 8, "end"]
    assert "Left out for room: epochs 1, 16." in spectral_panels.caption(found)


def test_a_probe_without_a_finite_node_is_left_out(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    for member in study.plan():
        made = fake_study.finish(study, member)
        lost = [replace(p, nodes=p.nodes * np.nan) if p.task == "H" else p for p in made.probes]
        results.write(study.folder(member), replace(made, probes=lost))
    rows = spectral_panels.rows(ReportInputs(study, gather(study)))
    assert {*rows["together"][0]} == {"C", "M"}
