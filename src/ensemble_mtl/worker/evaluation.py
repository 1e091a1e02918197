"""Errors of trained members on each part of the data, in the physical unit and scaled."""

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
"""Part (``train``, ``val``, ``test``) -> metric -> value, of one member and task."""


def evaluate(
    config: StudyConfig, problem: Problem, prepared: Prepared, state: StackState
) -> tuple[list[dict[str, PartErrors]], list[dict[str, NDArray[np.float32]]]]:
    """Compute the errors and test predictions of each member at its best weights.

    Args:
        config: the study's configuration.
        problem: model and data.
        prepared: the data of the split, with their normalisers.
        state: M members.

    Returns:
        two lists over members: task -> part -> metric -> value; and task -> ``[n]`` test predictions in the target's
        unit, in the order of the split's test part, where the nodes of a graph stand together.
    """
    parts = {"train": problem.train, "val": problem.val, "test": torch.as_tensor(prepared.split.test)}
    metrics: list[dict[str, PartErrors]] = [{task: {} for task in problem.model.spec.tasks} for _ in range(len(state))]
    predictions: list[dict[str, NDArray[np.float32]]] = [{} for _ in range(len(state))]
    all_graphs = torch.cat([graphs.to(problem.train.device) for graphs in parts.values()])
    num_nodes = np.diff(prepared.store.node_ptr)
    for task, outputs in predict(problem, state["best.parameters"], state["best.buffers"], all_graphs).items():
        # outputs are [M, labels of all parts, one part after the other], and are split into the parts again
        labels_per_graph = num_nodes if task in problem.model.node_tasks else np.ones_like(num_nodes)
        sizes = [int(labels_per_graph[graphs.cpu().numpy()].sum()) for graphs in parts.values()]
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
    """Compute RMSE and MAE over the labels that exist.

    Args:
        difference: ``[n]`` predictions minus labels in the physical unit; NaN where there is no label.
        scale: what the normaliser divides by, in the physical unit.

    Returns:
        ``rmse`` and ``mae`` in the physical unit, and ``rmse_scaled`` and ``mae_scaled``, divided by ``scale``.
    """
    labelled = difference[~np.isnan(difference)]
    rmse, mae = float(np.sqrt(np.mean(labelled**2))), float(np.mean(np.abs(labelled)))
    return {"rmse": rmse, "mae": mae, "rmse_scaled": rmse / scale, "mae_scaled": mae / scale}
