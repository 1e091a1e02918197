"""Mean squared and absolute errors per member and task, over the labels that exist."""

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
    squares = [(outputs[task] - batch.targets[task]).square() for task in tasks]
    return torch.stack(
        [_mean(square, batch.labelled.get(task)) for task, square in zip(tasks, squares, strict=True)], 1
    )


@torch.no_grad()
def absolute_errors(outputs: Mapping[str, Tensor], batch: GraphBatch, tasks: Sequence[str]) -> Tensor:
    """``[M, T]`` mean absolute errors, told and never minimised; arguments as for :func:`task_losses`."""
    sizes = [(outputs[task] - batch.targets[task]).abs() for task in tasks]
    return torch.stack([_mean(size, batch.labelled.get(task)) for task, size in zip(tasks, sizes, strict=True)], 1)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """``[M]`` means over all but the first dimension, of what ``mask`` marks; 0 where that is nothing."""
    flat = values.flatten(1)
    if mask is None:
        return flat.mean(1)
    weight = mask.flatten()
    return (flat * weight).sum(1) / weight.sum().clamp(min=1)
