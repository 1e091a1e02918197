"""Errors of trained members on each part of the data, in scaled and in physical units."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.data.prepare import Prepared, part_targets
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem, predict

PartErrors = dict[str, dict[str, float]]
"""Part (train, val, test) -> metric -> value."""


def evaluate(
    config: StudyConfig, problem: Problem, prepared: Prepared, state: StackState
) -> tuple[list[dict[str, PartErrors]], list[dict[str, NDArray[np.float32]]]]:
    """Errors and test predictions of each member at its best weights.

    Returns:
        for each member, task -> part -> metric -> value, and task -> ``[n]`` test predictions
        in the target's unit, in the order of the split's test part, node targets graph by graph.
    """
    parts = {"train": problem.train, "val": problem.val, "test": torch.as_tensor(prepared.split.test)}
    metrics: list[dict[str, PartErrors]] = [{task: {} for task in problem.model.spec.tasks} for _ in range(len(state))]
    predictions: list[dict[str, NDArray[np.float32]]] = [{} for _ in range(len(state))]
    together = torch.cat([graphs.to(problem.train.device) for graphs in parts.values()])
    nodes = np.diff(prepared.store.node_ptr)
    for task, outputs in predict(problem, state["best.parameters"], state["best.buffers"], together).items():
        of_graph = nodes if task in problem.model.node_tasks else np.ones_like(nodes)
        sizes = [int(of_graph[graphs.cpu().numpy()].sum()) for graphs in parts.values()]
        for (part, graphs), scaled in zip(parts.items(), outputs.double().cpu().split(sizes, dim=1), strict=True):
            normalizer = prepared.normalizers[task]
            truth = part_targets(prepared.store, config.tasks[task].target, graphs.cpu().numpy())
            for m, values in enumerate(scaled.numpy()):
                physical = normalizer.inverse(values)
                metrics[m][task][part] = errors(physical - truth, normalizer.scale)
                if part == "test":
                    predictions[m][task] = physical.astype(np.float32)
    return metrics, predictions


def errors(difference: FloatArray, scale: float) -> dict[str, float]:
    """RMSE and MAE over the labels that exist, physical and divided by ``scale``."""
    known = difference[~np.isnan(difference)]
    rmse, mae = float(np.sqrt(np.mean(known**2))), float(np.mean(np.abs(known)))
    return {"rmse": rmse, "mae": mae, "rmse_scaled": rmse / scale, "mae_scaled": mae / scale}
