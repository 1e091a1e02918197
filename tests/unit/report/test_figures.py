from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import fake_study
from matplotlib.container import ErrorbarContainer

from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.report.drawing import drawings
from ensemble_mtl.report.figures import look, table_1, wall_clock
from ensemble_mtl.report.figures.base import FAMILY
from ensemble_mtl.report.inputs import NARROW, WIDE, PageLayout, ReportInputs
from ensemble_mtl.study.directory import Study

FIGURES = FAMILY.names()


def inputs(study: Study) -> ReportInputs:
    return ReportInputs(study, gather(study))


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ReportInputs]:
    one = fake_study.make_study(tmp_path_factory.mktemp("one"), seeds=1)
    fake_study.finish_all(one)
    twelve = fake_study.make_study(tmp_path_factory.mktemp("many"), seeds=5)
    fake_study.finish_all(twelve)
    return {
        "one member each": inputs(one),
        "incomplete": inputs(fake_study.make_incomplete(tmp_path_factory.mktemp("part"))),
        "complete": inputs(twelve),
        "nothing": inputs(fake_study.make_study(tmp_path_factory.mktemp("none"))),
    }


@pytest.fixture(scope="module")
def formula(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """A study whose label of a task is no valid formula."""
    study = fake_study.make_study(tmp_path_factory.mktemp("formula"), seeds=1, label=r"$\frac{ & <b>$")
    fake_study.finish_all(study)
    return inputs(study)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_it_shows(name: str, studies: dict[str, ReportInputs]) -> None:
    module = FAMILY.load(name)
    assert module.TITLE
    assert isinstance(module.ORDER, int)
    assert module.caption(studies["complete"]).endswith(".")


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("state", ["one member each", "incomplete", "complete"])
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws(name: str, state: str, layout: PageLayout, studies: dict[str, ReportInputs]) -> None:
    """``tests/integration/test_report_page.py`` also renders all of them, which takes ten times longer."""
    assert FAMILY.load(name).draw(studies[state], layout) is not None


@pytest.mark.parametrize("name", FIGURES)
def test_figures_without_results_are_left_out(name: str, studies: dict[str, ReportInputs]) -> None:
    figure = FAMILY.load(name).draw(studies["nothing"], WIDE)
    assert (figure is not None) == (name == "composition")


@pytest.mark.parametrize("name", FIGURES)
def test_a_formula_like_label_is_drawn_literally(name: str, formula: ReportInputs) -> None:
    with look.style():
        figure = FAMILY.load(name).draw(formula, WIDE)
        assert figure is not None
        figure.draw_without_rendering()  # parses and lays out every text, as saving does


def test_times_have_error_bars_only_where_stacks_can_differ(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=3)
    for member in study.plan():
        fake_study.finish(study, member, stack_id="one" if len(member.subset) > 1 else f"{member.seed}")
    found = inputs(study)
    figure = wall_clock.draw(found, WIDE)
    assert figure is not None
    (bars,) = [part for part in figure.axes[0].containers if isinstance(part, ErrorbarContainer)]
    assert len(bars.lines[2][0].get_segments()) == 3  # H, C and M alone
    assert "± sample standard deviation over the 3 stacks" in wall_clock.caption(found)


def test_a_missing_split_leaves_parity_out_only(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1, report={"figures": ["parity", "distributions"]})
    fake_study.finish_all(study)
    study.split(0).unlink()
    assert [drawing.name for drawing in drawings(inputs(study))] == ["distributions"]


def test_unreadable_histories_leave_learning_curves_out(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1, report={"figures": ["learning", "training", "distributions"]})
    fake_study.finish_all(study)
    for member in study.plan():
        study.metrics(member).write_text('{"epoch": 1')
    assert [drawing.name for drawing in drawings(inputs(study))] == ["distributions"]


@pytest.mark.parametrize("name", ["appendix-e", "table-1"])
def test_a_record_of_something_else_is_named(name: str, tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1, report={"figures": [name.replace("-", "_")]})
    fake_study.finish_all(study)
    path = study.root / f"{name}.json"
    for text in ("{", '{"eigenvalues": [1], "cells": [{}]}', "[]", '{"eigenvalues": "x", "cells": []}'):
        path.write_text(text)
        with pytest.raises(StudyError, match=rf"{name}\.json: no record of `ensemble-mtl reproduce {name}`"):
            drawings(inputs(study))
    path.unlink()
    assert drawings(inputs(study)) == []


def test_published_errors_stand_beside_those_that_the_study_has_now(studies: dict[str, ReportInputs]) -> None:
    for state, missing in (("complete", 0), ("incomplete", 1)):  # no member of H alone is in
        figure = table_1.draw(studies[state], WIDE)
        assert figure is not None
        points = [
            len(bars.lines[0].get_xdata()) for axis in figure.axes for bars in axis.containers
            if isinstance(bars, ErrorbarContainer)
        ]  # fmt: skip
        assert points == [2, 2 - missing, 1, 1]


def test_parity_pairs_predictions_with_their_own_truth(studies: dict[str, ReportInputs]) -> None:
    found = studies["complete"]
    pairs = found.parity(found.typical(("H", "C", "M")))
    assert {task: len(true) for task, (true, _) in pairs.items()} == {"H": 36, "C": 36 * 8, "M": 36 * 8}
    for true, predicted in pairs.values():
        assert np.corrcoef(true, predicted)[0, 1] > 0.9


def test_the_member_shown_is_the_median_one(studies: dict[str, ReportInputs]) -> None:
    found = studies["complete"]
    errors = {member.id: fake_study.error_of(member, "H") for member, _ in found.members["H",]}
    assert errors[found.typical(("H",)).id] == pytest.approx(np.median(list(errors.values())))
