"""On a GPU, a training step is recorded as a CUDA graph and replayed.

A step of small graphs is some thousand kernels that each take less time than Python takes to launch them. Replayed,
they follow each other without it, on the same memory; the batch's indices are what is copied, from device to device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ensemble_mtl.memory import is_shortage

Step = Callable[[Tensor], None]
Record = Callable[[Step, Tensor], Callable[[], None]]
"""Of a step and the tensor that it shall read its batch from, the function that does it; nothing is done yet."""


_REFUSED: list[str] = []
"""Why a step could not be recorded in this process; it is not tried again."""


def each(step: Step, batches: Sequence[Tensor], record: Record | None) -> None:
    """Do ``step`` with every batch, in order.

    The first step is done as it is, which prepares whatever a recording must not; so is a batch of another size, as the
    last one often is. Where a step cannot be recorded, training goes on without, and says so once.

    Args:
        step: changes tensors in place, always the same ones, and nothing else from one batch to the next.
        batches: ``[B]`` indices of graphs on the device.
        record: how it is recorded; None if it is not.

    Raises:
        RuntimeError: memory does not suffice.
    """
    own, replay = batches[0].clone(), None
    for number, graphs in enumerate(batches):
        if number == 0 or record is None or len(graphs) != len(own):
            step(graphs)
            continue
        own.copy_(graphs)
        if replay is None:
            replay = _recorded(record, step, own)
        (replay or partial(step, graphs))()


def _recorded(record: Record, step: Step, own: Tensor) -> Callable[[], None] | None:
    """None if it cannot be; then nothing of the attempt is left, neither its error nor the memory that it names."""
    if _REFUSED:
        return None
    try:
        return record(step, own)
    except RuntimeError as error:
        # what ends a recording complains of its failure in turn
        for cause in (error, error.__context__):
            if cause is not None and is_shortage(cause):
                raise cause from None
        _REFUSED.append(str(error))
        warnings.warn(f"training goes on slower, since a step could not be recorded: {error}", stacklevel=2)
    return None


def cuda_graph(step: Step, graphs: Tensor) -> Callable[[], None]:
    """A :data:`Record` for CUDA devices."""
    recording = torch.cuda.CUDAGraph()
    # torch.cuda.graph leaves its own stream the current one when a recording fails
    present = torch.cuda.current_stream(graphs.device)
    with torch.cuda.device(graphs.device), torch.cuda.stream(present), torch.cuda.graph(recording):
        step(graphs)
    replay: Callable[[], None] = recording.replay
    return replay
