"""Pairs of tasks, and whether mismatch tells who gains, on numbers made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import fake_study

from ensemble_mtl.analysis import curvature as curvature_summary
from ensemble_mtl.analysis import gather
from ensemble_mtl.analysis.aggregates import Groups, Row
from ensemble_mtl.study import results
from ensemble_mtl.study.plan import Member
from ensemble_mtl.study.results import MemberResult, ProbeResult


def probe(task: str, epoch: int, trace: float, sem: float = 0.1, **pairs: dict[str, float]) -> ProbeResult:
    one = np.ones((1, 1))
    return ProbeResult(task, epoch, 10, 4, 0.1, trace, sem, 10, 0.0, 1.0, 0.0, 10, 0.1, one, one, pairs=pairs)


def trained(probes: list[ProbeResult]) -> MemberResult:
    return MemberResult({}, "", {}, {}, 5, 5, False, 1.0, 1.0, 1, {}, "cpu", "float64", {}, probes=probes)


def groups(*members: list[ProbeResult]) -> Groups:
    return {
        (("A", "B"), 1.0): [(Member(f"{i}", ("A", "B"), i, 0, 1.0), trained(found)) for i, found in enumerate(members)]
    }


def alike(cosine: float) -> dict[str, float]:
    return {"gradient_cosine": cosine, "eigenvector_overlap": 0.5, "wasserstein": 2.0, "energy_wasserstein": 0.25,
            "outlier_wasserstein": 1.0}  # fmt: skip


def test_every_measure_has_its_mean_and_deviation_over_members() -> None:
    (row,) = curvature_summary.pairs(
        groups(
            [probe("A", 3, 6.0, B=alike(0.2)), probe("B", 3, 2.0, A=alike(0.2))],
            [probe("A", 3, -4.0, B=alike(0.6)), probe("B", 3, 4.0, A=alike(0.6))],
        ),
        ends=False,
    )
    assert (row["tasks"], row["epoch"], row["epoch_mean"], row["members"]) == (["A", "B"], 3, 3.0, 2)
    assert row["gradient_cosine"] == {"mean": pytest.approx(0.4), "std": pytest.approx(0.08**0.5), "members": 2}
    assert row["wasserstein"] == {"mean": 2.0, "std": 0.0, "members": 2}
    assert row["trace_ratio"] == {"mean": pytest.approx(1.0), "std": pytest.approx(8**0.5), "members": 2}  # 3 and −1
    assert row["trace_difference"]["mean"] == pytest.approx(0.75)  # 1/2, and 1 for unlike signs


def test_a_trace_within_its_error_of_0_divides_nothing() -> None:
    (row,) = curvature_summary.pairs(
        groups([probe("A", 0, 1.0), probe("B", 0, 0.1, sem=0.06)], [probe("A", 0, 1.0), probe("B", 0, 0.5)]),
        ends=False,
    )
    assert row["trace_ratio"] == {"mean": 2.0, "std": None, "members": 1}
    assert row["gradient_cosine"] == {"mean": None, "std": None, "members": 0}  # probes from before it was measured


def test_last_epochs_come_together_and_last() -> None:
    rows = curvature_summary.pairs(
        groups(
            [probe(task, epoch, 1.0) for task in "AB" for epoch in (0, 4)],
            [probe(task, epoch, 1.0) for task in "AB" for epoch in (0, 6)],
        ),
        ends=True,
    )
    assert [(row["epoch"], row["epoch_mean"], row["members"]) for row in rows] == [(0, 0.0, 2), ("end", 5.0, 2)]


def pair(subset: str, tasks: str, **means: float | None) -> Row:
    measures = {name: {"mean": means.get(name), "std": None, "members": 1} for name in curvature_summary.MEASURES}
    return {"subset": list(subset), "fraction": 1.0, "tasks": list(tasks), "epoch": 0, **measures}


def gain(subset: str, task: str, percent: float | None, fraction: float = 1.0) -> Row:
    return {"subset": list(subset), "task": task, "fraction": fraction, "percent": percent}


def of(rows: list[Row], measure: str) -> Row:
    (row,) = [row for row in rows if row["measure"] == measure]
    return row


def test_a_point_is_a_task_with_all_of_its_partners() -> None:
    found = [
        pair("ABC", "AB", gradient_cosine=0.5, wasserstein=1.0), pair("ABC", "AC", gradient_cosine=-0.1),
        pair("ABC", "BC", gradient_cosine=0.3, wasserstein=4.0), pair("AB", "AB", gradient_cosine=0.9, wasserstein=2.0),
    ]  # fmt: skip
    gains = [gain("ABC", "A", -12.0), gain("AB", "B", 5.0), gain("AB", "A", None), gain("AB", "A", -1.0, 0.5)]
    rows = curvature_summary.mismatch(gains, found, 1.0)
    points = of(rows, "gradient_cosine")["values"]
    assert [(p["subset"], p["task"], p["gain_percent"]) for p in points] == [
        (["A", "B", "C"], "A", 12.0), (["A", "B"], "B", -5.0),
    ]  # fmt: skip
    assert [p["mismatch"] for p in points] == [pytest.approx(0.8), pytest.approx(0.1)]  # 1 − mean cosine
    # the distance of A and C is not known, so that of A with its partners is not either
    assert [p["task"] for p in of(rows, "wasserstein")["values"]] == ["B"]
    assert of(rows, "gradient_cosine")["verdict"] == "too few points"


@pytest.mark.parametrize(("sign", "verdict"), [(1.0, "falling"), (-1.0, "rising")])
def test_mismatch_that_goes_with_the_loss_is_found(sign: float, verdict: str) -> None:
    letters = "ABCDEFGH"
    found = [pair(f"X{one}", f"X{one}", energy_wasserstein=0.1 * k, wasserstein=1.0) for k, one in enumerate(letters)]
    gains = [
        gain(f"X{one}", task, sign * 3.0 * k + (task == "X")) for k, one in enumerate(letters) for task in "X" + one
    ]
    rows = curvature_summary.mismatch(gains, found, 1.0)
    assert of(rows, "energy_wasserstein")["points"] == 16
    assert of(rows, "energy_wasserstein")["verdict"] == verdict
    assert of(rows, "wasserstein")["verdict"] == "no evidence"  # a constant tells nothing
    assert of(rows, "trace_difference")["points"] == 0


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    study = fake_study.make_study(tmp_path_factory.mktemp("study"), seeds=2)
    fake_study.finish_all(study)
    return gather.gather(study)


def test_the_summary_holds_pairs_and_mismatch(summary: dict[str, Any]) -> None:
    assert len(summary["curvature_pairs"]) == 2 * (3 + 3)
    assert {row["epoch"] for row in summary["mismatch"]} == {0, "end"}
    assert {row["points"] for row in summary["mismatch"]} == {9}
    json.dumps(summary, allow_nan=False)


def test_results_without_pairs_still_gather(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path, seeds=2)
    for member in study.members():
        made = fake_study.finish(study, member)
        results.write(study.folder(member), replace(made, probes=[replace(p, pairs={}) for p in made.probes]))
    rows = gather.gather(study)
    assert all(row["gradient_cosine"]["members"] == 0 for row in rows["curvature_pairs"])
    assert {r["points"] for r in rows["mismatch"]} == {0, 9}  # only traces are known
