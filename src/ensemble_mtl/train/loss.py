"""Mean squared and absolute errors per member and task, over the labels that exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ensemble_mtl.data.batch import GraphBatch


def task_losses(outputs: Mapping[str, Tensor], batch: GraphBatch, tasks: Sequence[str]) -> Tensor:
    """Return ``[M, T]`` mean squared errors of normalised predictions.

    Args:
        outputs: task -> predictions ``[M, G]`` or ``[M, N, B]``.
        batch: its targets have the same shapes without M. Where ``labelled`` has an entry for a task, only the labels
            marked there count. A task without any label has loss 0.
        tasks: the order of the columns.
    """
    squares = [(outputs[task] - batch.targets[task]).square() for task in tasks]
    return _task_means(squares, batch, tasks)


@torch.no_grad()
def absolute_errors(outputs: Mapping[str, Tensor], batch: GraphBatch, tasks: Sequence[str]) -> Tensor:
    """Return ``[M, T]`` mean absolute errors, which are reported and never minimised.

    Arguments are those of :func:`task_losses`.
    """
    magnitudes = [(outputs[task] - batch.targets[task]).abs() for task in tasks]
    return _task_means(magnitudes, batch, tasks)


def _task_means(errors: Sequence[Tensor], batch: GraphBatch, tasks: Sequence[str]) -> Tensor:
    """Return ``[M, T]``, the mean of each task's errors, ``[M, G]`` or ``[M, N, B]``, over the labels that exist."""
    return torch.stack(
        [_mean(values, batch.labelled.get(task)) for task, values in zip(tasks, errors, strict=True)], dim=1
    )


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return ``[M]``, means over all dimensions but the first, of the values that ``mask`` marks; 0 if it marks none.

    Without a mask all values count.
    """
    flat = values.flatten(1)
    if mask is None:
        return flat.mean(1)
    weight = mask.flatten()
    return (flat * weight).sum(1) / weight.sum().clamp(min=1)
