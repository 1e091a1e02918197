"""On a GPU, a training step is recorded as a CUDA graph and replayed.

A step of small graphs is some thousand kernels that each take less time than Python takes to launch them. Replayed,
they follow each other without it, on the same memory; the batch's indices are what is copied, from device to device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Step = Callable[[Tensor], None]
Record = Callable[[Step, Tensor], Callable[[], None]]
"""Of a step and the tensor that it shall read its batch from, the function that does it; nothing is done yet."""


def each(step: Step, batches: Sequence[Tensor], record: Record | None) -> None:
    """Do ``step`` with every batch, in order.

    The first step is done as it is, which prepares whatever a recording must not; so is a batch of another size, as the
    last one often is. A step that cannot be recorded goes on as it is, and says so.

    Args:
        step: changes tensors in place, always the same ones, and nothing else from one batch to the next.
        batches: ``[B]`` indices of graphs on the device.
        record: how it is recorded; None if it is not.
    """
    own, replay = batches[0].clone(), None
    for number, graphs in enumerate(batches):
        if number == 0 or record is None or len(graphs) != len(own):
            step(graphs)
            continue
        own.copy_(graphs)
        if replay is None:
            try:
                replay = record(step, own)
            except RuntimeError as error:
                warnings.warn(f"training goes on slower, since a step could not be recorded: {error}", stacklevel=2)
                record = None
                step(graphs)
                continue
        replay()


def cuda_graph(step: Step, graphs: Tensor) -> Callable[[], None]:
    """A :data:`Record` for CUDA devices."""
    recording = torch.cuda.CUDAGraph()
    with torch.cuda.device(graphs.device), torch.cuda.graph(recording):
        step(graphs)
    replay: Callable[[], None] = recording.replay
    return replay
