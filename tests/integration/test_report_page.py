"""Whole pages of the report, with every figure rendered for wide screens and for phones."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import fake_study
from helpers.pages import ATTACK, Page, hostile_page, report
from matplotlib.figure import Figure

from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.report.drawing import drawings
from ensemble_mtl.report.figures.base import FAMILY
from ensemble_mtl.report.inputs import ReportInputs

FIGURES = FAMILY.names()


def test_report_is_small_and_complete(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=5)
    fake_study.finish_all(study)
    first = report(study)
    assert len(first) < 3_400_000
    assert "All 35 members are done and verified" in first
    assert study.config.name in first
    assert fake_study.make_store().sha256 in first


def test_a_hostile_study_has_every_figure_and_no_script(tmp_path: Path) -> None:
    text = hostile_page(tmp_path)
    page = Page(text)
    assert not page.open
    assert "script" not in page.tags
    assert ATTACK not in text
    assert page.tags.count("picture") == len(FIGURES)


def test_drawings_are_stamped_and_the_same_bytes_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[list[str]] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (texts.append([t.get_text() for t in self.texts]), save(self, *a, **k))
    )
    study = fake_study.make_incomplete(tmp_path)
    inputs = ReportInputs(study, gather(study))
    first = drawings(inputs)
    assert len(texts) == 2 * len(first) == 2 * len(FIGURES)
    assert all("synthetic data" in found for found in texts)
    assert [drawing.wide for drawing in drawings(inputs)] == [drawing.wide for drawing in first]


def test_a_formula_like_label_is_rendered(tmp_path: Path) -> None:
    """Of one member each, so that it also renders what has no deviation."""
    study = fake_study.make_study(tmp_path, seeds=1, label=r"$\frac{ & <b>$")
    fake_study.finish_all(study)
    assert len(drawings(ReportInputs(study, gather(study)))) == len(FIGURES)
