"""Mean squared error per member and task, over the labels that exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ensemble_mtl.data.batch import GraphBatch


def task_losses(outputs: Mapping[str, Tensor], batch: GraphBatch, tasks: Sequence[str]) -> Tensor:
    """``[M, T]`` mean squared errors of normalised predictions.

    Args:
        outputs: task -> ``[M, G]`` or ``[M, N, B]``.
        batch: its targets have the same shapes without M; where ``labelled`` has an entry,
            only the labels marked there count, and a task without any label has loss 0.
        tasks: the order of the columns.
    """
    columns = []
    for task in tasks:
        square = (outputs[task] - batch.targets[task]).square().flatten(1)
        mask = batch.labelled.get(task)
        if mask is None:
            columns.append(square.mean(1))
        else:
            weight = mask.flatten()
            columns.append((square * weight).sum(1) / weight.sum().clamp(min=1))
    return torch.stack(columns, dim=1)
