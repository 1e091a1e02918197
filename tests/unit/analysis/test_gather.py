from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import fake_study

from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.analysis.summary import Counts, Parts, Summary
from ensemble_mtl.analysis.summary_rows import ErrorCell
from ensemble_mtl.core.errors import DataError, IncompleteStudyError
from ensemble_mtl.data import store as graph_store
from ensemble_mtl.study.plan import label


def cell(summary: Summary, subset: str, task: str, metric: str = "rmse_scaled") -> ErrorCell:
    (found,) = [c for c in summary.cells if (label(c.subset), c.task, c.metric) == (subset, task, metric)]
    return found


def test_means_are_over_the_members_of_a_subset(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=5)
    fake_study.finish_all(study)
    summary = gather(study)
    values = [fake_study.error_of(m, "H") for m in study.plan() if m.subset == ("H", "M")]
    found = cell(summary, "HM", "H")
    assert found.values == tuple(values)
    assert found.error.mean == pytest.approx(np.mean(values))
    assert found.error.std == pytest.approx(np.std(values, ddof=1))
    assert found.error.sem == pytest.approx(np.std(values, ddof=1) / np.sqrt(5))
    assert (found.error.members, found.planned, found.unit) == (5, 5, "scaled")
    assert cell(summary, "HM", "M", "rmse").unit == "μB"
    assert summary.complete
    assert summary.counts == Counts(done=35, running=0, failed=0, missing=0, total=35)


def test_table_1_leads_to_its_own_findings(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=12)
    fake_study.finish_all(study)
    verdicts = {(label(row.subset), row.task): row.against_alone.verdict for row in gather(study).comparisons}
    assert verdicts["HM", "H"] == "gains"
    assert verdicts["HC", "C"] == "loses"
    assert verdicts["CM", "C"] == "no evidence"
    assert len(verdicts) == 9


def test_a_study_without_members_has_empty_cells(tmp_path: Path) -> None:
    summary = gather(fake_study.make_study(tmp_path))
    assert len(summary.cells) == 12 * 4
    assert all(c.error.members == 0 and c.error.mean is None and c.error.std is None for c in summary.cells)
    assert summary.counts.missing == 42
    assert len(summary.missing) == 42
    assert {row.against_alone.verdict for row in summary.comparisons} == {"too few seeds"}


def test_one_member_has_no_deviation(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    fake_study.finish_all(study)
    error = cell(gather(study), "HCM", "C").error
    assert error.members == 1
    assert error.mean is not None
    assert (error.std, error.sem, error.ci95) == (None, None, None)


def test_failed_members_are_listed_and_not_averaged(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=3)
    first, *others = study.plan()
    fake_study.fail(study, first, f"{study.root}/x: loss is not finite", attempts=2)
    for member in others:
        fake_study.finish(study, member)
    summary = gather(study)
    (failed,) = summary.failed
    assert (failed.id, failed.attempts, failed.error) == (first.id, 2, "x: loss is not finite")
    assert cell(summary, "HCM", "H").error.members == 2
    assert summary.counts.failed == 1
    assert not summary.complete


def test_an_unreadable_failure_is_still_a_failure(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    member = study.plan()[0]
    fake_study.fail(study, member, "x")
    study.failure(member).write_text("[")
    assert gather(study).failed[0].error == "failed.json cannot be read"


def test_damaged_results_are_listed_and_not_averaged(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=3)
    fake_study.finish_all(study)
    member = study.plan()[0]
    path = study.result(member)
    path.write_text(path.read_text().replace('"arrays_sha256": "', '"arrays_sha256": "0'))
    summary = gather(study)
    (damaged,) = summary.damaged
    assert damaged.id == member.id
    assert "not the arrays" in damaged.reason
    assert str(tmp_path) not in summary.model_dump_json()
    assert cell(summary, "HCM", "H").error.members == 2
    assert [row.id for row in summary.missing] == [member.id]
    assert not summary.complete


def test_results_of_two_data_sets_are_never_mixed(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=2)
    fake_study.finish_all(study)
    member = study.plan()[0]
    fake_study.finish(study, member, data_sha256="f" * 64)
    summary = gather(study)
    assert "other data" in summary.damaged[0].reason
    assert cell(summary, "HCM", "H").error.members == 1


def test_a_result_of_another_member_is_not_used(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=2)
    fake_study.finish_all(study)
    first, second = study.plan()[:2]
    fake_study.finish(study, first, member=second.to_json())
    assert second.id in gather(study).damaged[0].reason


def test_a_result_without_its_metrics_is_not_used(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    fake_study.finish(study, study.plan()[0], metrics={"H": {"test": {"rmse": 1.0}}})
    assert "no finite test mae" in gather(study).damaged[0].reason


def test_last_epochs_are_one_group_though_members_stop_at_different_ones(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=3)
    fake_study.finish_all(study)
    rows = [row for row in gather(study).curvature if label(row.subset) == "HM" and row.task == "H"]
    assert [row.epoch for row in rows] == [0, "end"]
    assert rows[1].epoch_mean == pytest.approx(21.0)
    assert [row.members for row in rows] == [3, 3]


def test_correlations_average_node_targets_per_graph(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path)
    store = fake_study.make_store()
    rows = {(*row.tasks, row.level): row.pearson for row in gather(study).correlations}
    per_graph = store.targets["magnetic_moment"].reshape(fake_study.NUM_GRAPHS, -1).mean(axis=1)
    assert rows["H", "M", "graph"] == pytest.approx(np.corrcoef(store.targets["mixing_enthalpy"], per_graph)[0, 1])
    assert ("C", "M", "node") in rows
    assert ("H", "M", "node") not in rows


def test_a_conserved_sum_correlates_with_nothing(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path)
    store = fake_study.make_store()
    values = store.targets["charge_transfer"].reshape(fake_study.NUM_GRAPHS, -1)
    values -= values.mean(axis=1, keepdims=True) + 1e-6 * store.targets["mixing_enthalpy"][:, None]
    graph_store.save(study.data, store)
    rows = {(*row.tasks, row.level): row for row in gather(study).correlations}
    assert rows["H", "C", "graph"].pearson is None
    assert rows["H", "C", "graph"].conserved
    assert rows["C", "M", "node"].pearson is not None
    assert rows["H", "M", "graph"].pearson is not None


def test_a_split_of_other_data_is_not_used(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path)
    study.split(0).write_text(study.split(0).read_text().replace('"data_sha256": "', '"data_sha256": "0'))
    assert gather(study).data.parts is None


def test_data_section_tells_split_and_skipped_records(tmp_path: Path) -> None:
    summary = gather(fake_study.make_study(tmp_path))
    assert summary.data.parts == Parts(train=168, val=36, test=36)
    assert summary.data.skipped == ("bad.txt: truncated",)
    assert summary.synthetic


def test_repeated_splits_are_named_in_the_comparisons(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1, split_seeds=(0, 1, 2, 3, 4))
    fake_study.finish_all(study)
    comparisons = [row.against_alone for row in gather(study).comparisons]
    assert {(one.unit, one.variance) for one in comparisons} == {("split", "seeds and splits (5 splits)")}


def test_training_fractions_have_cells_of_their_own(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=2, fractions=(0.5, 1.0))
    fake_study.finish_all(study)
    summary = gather(study)
    assert len(summary.cells) == 2 * 12 * 4
    assert all(c.error.members == 2 for c in summary.cells)


def test_no_store_is_nothing_to_gather(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path / "a")
    with pytest.raises(IncompleteStudyError, match="no graph store yet"):
        gather(type(study)(study.config, tmp_path / "b"))


def test_a_target_that_the_store_lacks_is_named(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path)
    tasks = {"H": study.config.tasks["H"].model_copy(update={"target": "gap"})}
    with pytest.raises(DataError, match=r"task H: no target 'gap', expected one of mixing_enthalpy"):
        gather(type(study)(study.config.model_copy(update={"tasks": tasks}), study.root))
