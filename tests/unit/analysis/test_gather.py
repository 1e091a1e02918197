from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import fake_study

from ensemble_mtl.analysis import gather
from ensemble_mtl.core.errors import DataError, IncompleteStudyError, StoreError
from ensemble_mtl.data import store as graph_store
from ensemble_mtl.study import results
from ensemble_mtl.study.plan import label


def cell(summary: dict, subset: str, task: str, metric: str = "rmse_scaled") -> dict:
    (found,) = [
        c for c in summary["cells"] if label(c["subset"]) == subset and c["task"] == task and c["metric"] == metric
    ]
    return found


def test_means_are_over_the_members_of_a_subset(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=5)
    fake_study.finish_all(study)
    summary = gather.gather(study)
    values = [fake_study.error_of(m, "H") for m in study.members() if m.subset == ("H", "M")]
    found = cell(summary, "HM", "H")
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["std"] == pytest.approx(np.std(values, ddof=1))
    assert found["sem"] == pytest.approx(np.std(values, ddof=1) / np.sqrt(5))
    assert (found["members"], found["planned"], found["unit"]) == (5, 5, "scaled")
    assert cell(summary, "HM", "M", "rmse")["unit"] == "μB"
    assert summary["complete"]
    assert summary["counts"] == {"done": 35, "running": 0, "failed": 0, "missing": 0, "total": 35}


def test_table_1_leads_to_its_own_findings(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=12)
    fake_study.finish_all(study)
    verdicts = {(label(row["subset"]), row["task"]): row["verdict"] for row in gather.gather(study)["gains"]}
    assert verdicts["HM", "H"] == "gains"
    assert verdicts["HC", "C"] == "loses"
    assert verdicts["CM", "C"] == "no evidence"
    assert len(verdicts) == 9


def test_a_study_without_members_has_empty_cells(tmp_path: Path) -> None:
    summary = gather.gather(fake_study.make_study(tmp_path))
    assert len(summary["cells"]) == 12 * 4
    assert all(c["members"] == 0 and c["mean"] is None and c["std"] is None for c in summary["cells"])
    assert summary["counts"]["missing"] == 42
    assert len(summary["missing"]) == 42
    assert {row["verdict"] for row in summary["gains"]} == {"too few seeds"}


def test_one_member_has_no_deviation(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    fake_study.finish_all(study)
    found = cell(gather.gather(study), "HCM", "C")
    assert found["members"] == 1
    assert found["mean"] is not None
    assert (found["std"], found["sem"], found["ci95"]) == (None, None, None)


def test_failed_members_are_listed_and_not_averaged(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=3)
    first, *others = study.members()
    fake_study.fail(study, first, f"{study.root}/x: loss is not finite", attempts=2)
    for member in others:
        fake_study.finish(study, member)
    summary = gather.gather(study)
    (failed,) = summary["failed"]
    assert (failed["id"], failed["attempts"], failed["error"]) == (first.id, 2, "x: loss is not finite")
    assert cell(summary, "HCM", "H")["members"] == 2
    assert summary["counts"]["failed"] == 1
    assert not summary["complete"]


def test_an_unreadable_failure_is_still_a_failure(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    member = study.members()[0]
    fake_study.fail(study, member, "x")
    study.failure(member).write_text("[")
    assert gather.gather(study)["failed"][0]["error"] == "failed.json cannot be read"


def test_damaged_results_are_listed_and_not_averaged(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=3)
    fake_study.finish_all(study)
    member = study.members()[0]
    path = study.result(member)
    path.write_text(path.read_text().replace('"arrays_sha256": "', '"arrays_sha256": "0'))
    summary = gather.gather(study)
    (damaged,) = summary["damaged"]
    assert damaged["id"] == member.id
    assert "not the arrays" in damaged["reason"]
    assert str(tmp_path) not in json.dumps(summary)
    assert cell(summary, "HCM", "H")["members"] == 2
    assert [row["id"] for row in summary["missing"]] == [member.id]
    assert not summary["complete"]


def test_results_of_two_data_sets_are_never_mixed(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=2)
    fake_study.finish_all(study)
    member = study.members()[0]
    fake_study.finish(study, member, data_sha256="f" * 64)
    summary = gather.gather(study)
    assert "other data" in summary["damaged"][0]["reason"]
    assert cell(summary, "HCM", "H")["members"] == 1


def test_a_result_of_another_member_is_not_used(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=2)
    fake_study.finish_all(study)
    first, second = study.members()[:2]
    fake_study.finish(study, first, member=second.to_json())
    assert second.id in gather.gather(study)["damaged"][0]["reason"]


def test_a_result_without_its_metrics_is_not_used(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    fake_study.finish(study, study.members()[0], metrics={"H": {"test": {"rmse": 1.0}}})
    assert "no finite test mae" in gather.gather(study)["damaged"][0]["reason"]


def test_cost_is_the_single_task_sum_over_the_multi_task_time(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=2)
    for member in study.members():
        fake_study.finish(study, member, train_seconds={1: 10.0, 2: 11.0, 3: 12.0}[len(member.subset)] + member.seed)
    row = next(row for row in gather.gather(study)["cost"] if len(row["subset"]) == 3)
    assert row["single_task_seconds"] == pytest.approx(31.5)
    assert row["ratio"] == pytest.approx(31.5 / 12.5)
    deviation = np.sqrt(0.5)
    expected = row["ratio"] * np.sqrt((np.sqrt(3) * deviation / 31.5) ** 2 + (deviation / 12.5) ** 2)
    assert row["std_ratio"] == pytest.approx(expected)
    assert row["comparable"]


def timed(root: Path, seconds: list[float], **clocks: list[Any]) -> dict[str, Any]:
    """The summary of a study in which the k-th seed took ``seconds[k]``, with the k-th value of each clock."""
    study = fake_study.make_study(root, seeds=len(seconds))
    for member in study.members():
        clock = {name: values[member.seed] for name, values in clocks.items()}
        fake_study.finish(study, member, train_seconds=seconds[member.seed], **clock)
    return gather.gather(study)


def test_members_of_one_stack_are_one_measurement_of_its_time(tmp_path: Path) -> None:
    summary = timed(tmp_path, [10.0, 11.0, 12.0, 15.0], stack_id=["a"] * 4)
    row = summary["wall_clock"][0]
    assert (row["mean"], row["std"], row["members"], row["stacks"]) == (12.0, None, 4, 1)
    assert summary["cost"][0]["ratio"] == pytest.approx(3.0)
    assert summary["cost"][0]["std_ratio"] is None


def test_times_spread_between_stacks(tmp_path: Path) -> None:
    summary = timed(tmp_path, [10.0, 12.0, 12.0, 14.0, 17.0], stack_id=["a", "a", "a", "b", "b"])
    row = summary["wall_clock"][0]
    assert row["mean"] == pytest.approx(13.0)  # over members
    means = [34 / 3, 15.5]
    assert row["std"] == pytest.approx(np.std(means, ddof=1))
    assert (row["members"], row["stacks"]) == (5, 2)
    relative = row["std"] / 13.0
    expected = 3.0 * np.sqrt(3 * (relative / 3) ** 2 + relative**2)
    assert summary["cost"][0]["std_ratio"] == pytest.approx(expected)


def test_results_without_a_stack_are_told_apart_by_the_clock(tmp_path: Path) -> None:
    summary = timed(tmp_path, [10.0, 10.0, 13.0], stack_id=[""] * 3, stack_seconds=[40.0, 40.0, 60.0])
    assert summary["wall_clock"][0]["stacks"] == 2
    assert summary["wall_clock"][0]["std"] == pytest.approx(np.std([10.0, 13.0], ddof=1))


def test_results_from_before_stacks_had_a_name_are_read(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    member = study.members()[0]
    assert fake_study.finish(study, member, stack_id="a").stack_id == "a"
    assert results.read(study.folder(member)).stack_id == "a"
    record = json.loads(study.result(member).read_text())
    del record["stack_id"]
    study.result(member).write_text(json.dumps(record))
    assert results.read(study.folder(member)).stack_id == ""


def test_times_of_different_devices_are_not_called_comparable(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    for member in study.members():
        fake_study.finish(study, member, device=f"device {len(member.subset)}")
    assert not any(row["comparable"] for row in gather.gather(study)["cost"])


def test_times_of_mixed_stacks_are_not_called_comparable(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    for member in study.members():
        fake_study.finish(study, member, stack_tasks=["H", "C", "M"] if len(member.subset) < 3 else [])
    assert not any(row["comparable"] for row in gather.gather(study)["cost"])
    for member in study.members():  # nor if all of them are mixed alike
        fake_study.finish(study, member, stack_tasks=["H", "C", "M", "V"])
    assert not any(row["comparable"] for row in gather.gather(study)["cost"])


def test_last_epochs_are_one_group_though_members_stop_at_different_ones(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=3)
    fake_study.finish_all(study)
    rows = [row for row in gather.gather(study)["curvature"] if label(row["subset"]) == "HM" and row["task"] == "H"]
    assert [row["epoch"] for row in rows] == [0, "end"]
    assert rows[1]["epoch_mean"] == pytest.approx(21.0)
    assert [row["members"] for row in rows] == [3, 3]


def test_correlations_average_node_targets_per_graph(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path)
    store = fake_study.make_store()
    rows = {(*row["tasks"], row["level"]): row["pearson"] for row in gather.gather(study)["correlations"]}
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
    rows = {(*row["tasks"], row["level"]): row for row in gather.gather(study)["correlations"]}
    assert rows["H", "C", "graph"]["pearson"] is None
    assert rows["H", "C", "graph"]["conserved"]
    assert rows["C", "M", "node"]["pearson"] is not None
    assert rows["H", "M", "graph"]["pearson"] is not None


def test_a_split_of_other_data_is_not_used(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path)
    study.split(0).write_text(study.split(0).read_text().replace('"data_sha256": "', '"data_sha256": "0'))
    assert gather.gather(study)["data"]["parts"] is None


def test_data_section_tells_split_and_skipped_records(tmp_path: Path) -> None:
    summary = gather.gather(fake_study.make_study(tmp_path))
    assert summary["data"]["parts"] == {"train": 168, "val": 36, "test": 36}
    assert summary["data"]["skipped"] == ["bad.txt: truncated"]
    assert summary["synthetic"]


def test_gathering_twice_gives_the_same_bytes_and_loads_again(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=2)
    fake_study.finish_all(study)
    gather.write(study, gather.gather(study))
    first = (study.root / "summary.json").read_bytes()
    gather.write(study, gather.gather(study))
    assert (study.root / "summary.json").read_bytes() == first
    assert gather.load(study.root / "summary.json") == gather.gather(study)
    lines = (study.root / "summary.csv").read_text().splitlines()
    assert len(lines) == 1 + 12 * 4
    assert lines[1].startswith("HCM,H,rmse,1.0,Ry,2,2,")


def test_repeated_splits_are_named_in_the_comparisons(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1, split_seeds=(0, 1, 2, 3, 4))
    fake_study.finish_all(study)
    rows = gather.gather(study)["gains"]
    assert {row["variance"] for row in rows} == {"seeds and splits (5 splits)"}


def test_training_fractions_have_cells_of_their_own(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=2, fractions=(0.5, 1.0))
    fake_study.finish_all(study)
    summary = gather.gather(study)
    assert len(summary["cells"]) == 2 * 12 * 4
    assert all(c["members"] == 2 for c in summary["cells"])


def test_no_store_is_nothing_to_gather(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path / "a")
    with pytest.raises(IncompleteStudyError, match="no graph store yet"):
        gather.gather(type(study)(study.config, tmp_path / "b"))


def test_a_target_that_the_store_lacks_is_named(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path)
    tasks = {"H": study.config.tasks["H"].model_copy(update={"target": "gap"})}
    with pytest.raises(DataError, match=r"task H: no target 'gap', expected one of mixing_enthalpy"):
        gather.gather(type(study)(study.config.model_copy(update={"tasks": tasks}), study.root))


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 0}'])
def test_a_foreign_summary_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "summary.json"
    path.write_text(text)
    with pytest.raises(StoreError, match="gather the study again"):
        gather.load(path)
