"""Errors are over the labels that exist, and in both units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.alloys import silent

from ensemble_mtl.config import file as config_file
from ensemble_mtl.data import prepare
from ensemble_mtl.study.directory import Study
from ensemble_mtl.train.state import initial
from ensemble_mtl.worker import evaluation
from ensemble_mtl.worker.problem import make_problem

TEXT = """\
name: molecules
data: {name: smiles, path: molecules.csv, targets: {gap: eV, rate: }}
graph: {node_features: one_hot, elements: found, bonds: found}
model: {trunk: {conv: cgcnn, layers: 2, width: 4}, heads: [4]}
train: {dtype: float64, device: cpu}
tasks:
  G: {target: gap}
  R: {target: rate}
"""


def test_missing_labels_count_for_nothing(tmp_path: Path) -> None:
    # among them molecules of one atom, which have no bond
    lines = [f"{'C' * (k % 9 + 1)}{'O' * (k > 8)},{'' if k % 3 else 1.5 * k},{(k - 20) ** 2}" for k in range(40)]
    (tmp_path / "molecules.csv").write_text("\n".join(["smiles,gap,rate", *lines]))
    (tmp_path / "study.yaml").write_text(TEXT)
    study = Study.at(config_file.load(tmp_path / "study.yaml"), tmp_path / "study.yaml", tmp_path / "out")
    prepare.prepare(study, silent)
    prepared = prepare.load(study, 0)
    cpu = torch.device("cpu")
    problem = make_problem(study.config, prepared, ("G", "R"), 0, 1.0, cpu)
    state = initial(problem.layout, problem.buffers, [0, 1], study.config.train, cpu)
    metrics, predictions = evaluation.evaluate(study.config, problem, prepared, state)
    truth = prepared.store.targets["gap"][prepared.split.test]
    assert np.isnan(truth).any()
    for errors, predicted in zip(metrics, predictions, strict=True):
        assert np.isfinite(predicted["G"]).all()
        difference = predicted["G"] - truth
        scale = prepared.normalizers["G"].scale
        expected = {"rmse": np.sqrt(np.nanmean(difference**2)), "mae": np.nanmean(np.abs(difference))}
        expected |= {f"{name}_scaled": value / scale for name, value in expected.items()}
        # predictions are kept in single precision
        assert errors["G"]["test"] == pytest.approx(expected, rel=1e-6)
        assert all(
            np.isfinite(value) for parts in errors.values() for part in parts.values() for value in part.values()
        )
