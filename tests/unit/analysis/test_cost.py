"""Training times, and what a multi-task model saves against the single-task models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import fake_study

from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.analysis.summary import Summary
from ensemble_mtl.core.errors import StoreError
from ensemble_mtl.study import results


def test_cost_is_the_single_task_sum_over_the_multi_task_time(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=2)
    for member in study.plan():
        fake_study.finish(study, member, train_seconds={1: 10.0, 2: 11.0, 3: 12.0}[len(member.subset)] + member.seed)
    row = next(row for row in gather(study).cost if len(row.subset) == 3)
    assert row.single_task_seconds == pytest.approx(31.5)
    assert row.ratio == pytest.approx(31.5 / 12.5)
    deviation = np.sqrt(0.5)
    expected = row.ratio * np.sqrt((np.sqrt(3) * deviation / 31.5) ** 2 + (deviation / 12.5) ** 2)
    assert row.ratio_std == pytest.approx(expected)
    assert row.same_conditions


def timed(root: Path, seconds: list[float], **clocks: list[Any]) -> Summary:
    """The summary of a study in which the k-th seed took ``seconds[k]``, with the k-th value of each clock."""
    study = fake_study.make_study(root, seeds=len(seconds))
    for member in study.plan():
        clock = {name: values[member.seed] for name, values in clocks.items()}
        fake_study.finish(study, member, train_seconds=seconds[member.seed], **clock)
    return gather(study)


def test_members_of_one_stack_are_one_measurement_of_its_time(tmp_path: Path) -> None:
    summary = timed(tmp_path, [10.0, 11.0, 12.0, 15.0], stack_id=["a"] * 4)
    row = summary.wall_clock[0]
    assert (row.mean_seconds, row.std_seconds, row.members, row.stacks) == (12.0, None, 4, 1)
    assert summary.cost[0].ratio == pytest.approx(3.0)
    assert summary.cost[0].ratio_std is None


def test_times_spread_between_stacks(tmp_path: Path) -> None:
    summary = timed(tmp_path, [10.0, 12.0, 12.0, 14.0, 17.0], stack_id=["a", "a", "a", "b", "b"])
    row = summary.wall_clock[0]
    assert row.mean_seconds == pytest.approx(13.0)  # over members
    means = [34 / 3, 15.5]
    assert row.std_seconds == pytest.approx(np.std(means, ddof=1))
    assert (row.members, row.stacks) == (5, 2)
    relative = row.std_seconds / 13.0
    expected = 3.0 * np.sqrt(3 * (relative / 3) ** 2 + relative**2)
    assert summary.cost[0].ratio_std == pytest.approx(expected)


def test_a_result_that_lacks_a_key_is_damaged(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    member = study.plan()[0]
    fake_study.finish(study, member)
    record = json.loads(study.result(member).read_text())
    del record["stack_id"]
    study.result(member).write_text(json.dumps(record))
    with pytest.raises(StoreError, match=r"result\.json: not a readable result .*stack_id"):
        results.read(study.folder(member))


def test_times_of_different_devices_are_not_called_comparable(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    for member in study.plan():
        fake_study.finish(study, member, device=f"device {len(member.subset)}")
    assert not any(row.same_conditions for row in gather(study).cost)


def test_times_of_mixed_stacks_are_not_called_comparable(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=1)
    for member in study.plan():
        fake_study.finish(study, member, stack_tasks=["H", "C", "M"] if len(member.subset) < 3 else [])
    assert not any(row.same_conditions for row in gather(study).cost)
    for member in study.plan():  # nor if all of them are mixed alike
        fake_study.finish(study, member, stack_tasks=["H", "C", "M", "V"])
    assert not any(row.same_conditions for row in gather(study).cost)
