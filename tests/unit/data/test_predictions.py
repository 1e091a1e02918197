"""Predicted beside true values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import fake_study

from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.core.errors import IncompleteStudyError, StoreError, StudyError
from ensemble_mtl.data import prepare
from ensemble_mtl.data.predictions import paired_with_truth, predictions
from ensemble_mtl.report.inputs import ReportInputs
from ensemble_mtl.study.directory import Study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = fake_study.make_study(tmp_path_factory.mktemp("study"), seeds=1)
    fake_study.finish_all(study)
    return study


def test_every_row_has_its_graph_its_truth_and_its_unit(study: Study) -> None:
    member = study.plan()[0]
    prepared = prepare.load(study, member.split)
    test, store = prepared.split.test, prepared.store
    rows = predictions(study, member)
    assert {task: (values.level, values.unit, len(values.true)) for task, values in rows.items()} == {
        "H": ("graph", "Ry", 36), "C": ("node", "e", 36 * 8), "M": ("node", "μB", 36 * 8),
    }  # fmt: skip
    for task, values in rows.items():
        assert values.graphs == tuple(f"cell-{graph}" for graph in test)
        assert len(values.graph) == len(values.true) == len(values.predicted)
        assert np.corrcoef(values.true, values.predicted)[0, 1] > 0.9, task
    column = store.targets["charge_transfer"]
    for k in (0, 7, 8, 100):
        graph, atom = test[rows["C"].graph[k]], k % 8
        assert rows["C"].true[k] == column[store.node_ptr[graph] + atom]
    np.testing.assert_array_equal(rows["H"].true, store.targets["mixing_enthalpy"][test])


def test_the_report_draws_the_same_numbers(study: Study) -> None:
    inputs = ReportInputs(study, gather(study))
    for member in study.plan():
        drawn = inputs.parity(member)
        assert list(drawn) == list(member.subset)
        for task, values in predictions(study, member).items():
            np.testing.assert_array_equal(drawn[task][0], values.true)
            np.testing.assert_array_equal(drawn[task][1], values.predicted)


def test_rows_without_a_label_or_a_finite_prediction_are_left_out(study: Study) -> None:
    store = fake_study.make_store()
    store.targets["mixing_enthalpy"][5] = np.nan
    test = np.array([4, 5, 6, 7])
    targets, predicted = {"H": "mixing_enthalpy"}, {"H": np.array([1.0, 2.0, np.inf, 4.0])}
    values = paired_with_truth(store, test, targets, predicted)["H"]
    assert [values.graphs[graph] for graph in values.graph] == ["cell-4", "cell-7"]
    assert values.predicted.tolist() == [1.0, 4.0]
    assert paired_with_truth(store, test[:3], targets, predicted) == {}
    assert paired_with_truth(store, test[:0], targets, {"H": np.zeros(0)}) == {}


def test_what_does_not_belong_together_is_refused(tmp_path: Path, study: Study) -> None:
    member, other = study.plan()[:2]
    broken = fake_study.make_study(tmp_path, seeds=1)
    with pytest.raises(IncompleteStudyError, match="has no result yet"):
        predictions(broken, member)
    fake_study.finish(broken, member, predictions={"H": np.zeros(35, np.float32)})
    with pytest.raises(StoreError, match="its predictions of H, C, M are not of the 36 test graphs"):
        predictions(broken, member)
    fake_study.finish(broken, other, data_sha256="0" * 64)
    with pytest.raises(StudyError, match="trained on other data"):
        predictions(broken, other)
