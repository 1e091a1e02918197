"""On a GPU, a training step is recorded as a CUDA graph and replayed.

A step of small graphs is some thousand kernels that each take less time than Python takes to launch them. Replayed,
they follow each other without it, on the same memory; the batch's indices are what is copied, from device to device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ensemble_mtl.core.runtime.devices import free_bytes
from ensemble_mtl.core.runtime.memory import is_shortage

Step = Callable[[Tensor], None]
Replay = Callable[[], None]
Record = Callable[[Step, Tensor], Replay | None]
"""Of a step and the tensor that it shall read its batch from, the function that does it; nothing is done yet. None
where memory hardly suffices for a recording beside what a step took."""

ROOM, SPARE_BYTES = 1.2, 256 * 2**20
"""A recording has memory of its own, as much as a step takes and some for its stream. Since what a failed one has taken
may be lost to the process, none is begun unless so many times that, and so much more, is free."""

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
    if own.is_cuda:
        torch.cuda.reset_peak_memory_stats(own.device)
    for number, graphs in enumerate(batches):
        if number and record is not None and len(graphs) == len(own):
            own.copy_(graphs)
            replay = replay or _recorded(record, step, own)
            if replay is not None:
                replay()
                continue
            record = None
        step(graphs)


def _recorded(record: Record, step: Step, own: Tensor) -> Replay | None:
    """None if it cannot be; nothing keeps the attempt's tensors then, as its error would."""
    if _REFUSED:
        return None
    try:
        return record(step, own)
    except RuntimeError as error:
        # what ends a recording complains of its failure in turn
        shortages = [str(cause) for cause in (error, error.__context__) if cause is not None and is_shortage(cause)]
        told = str(error)
    if shortages:
        raise torch.OutOfMemoryError(shortages[0])
    _REFUSED.append(told)
    warnings.warn(f"training goes on slower, since a step could not be recorded: {told}", stacklevel=2)
    return None


def _has_room(device: torch.device) -> bool:
    """Whether what the first step took fits once more."""
    step = torch.cuda.max_memory_allocated(device) - torch.cuda.memory_allocated(device)
    return free_bytes(device) >= ROOM * step + SPARE_BYTES


def cuda_graph(step: Step, graphs: Tensor) -> Replay | None:
    """A :data:`Record` for CUDA devices."""
    if not _has_room(graphs.device):
        return None
    recording = torch.cuda.CUDAGraph()
    # torch.cuda.graph leaves its own stream the current one when a recording fails
    present = torch.cuda.current_stream(graphs.device)
    with torch.cuda.device(graphs.device), torch.cuda.stream(present), torch.cuda.graph(recording):
        step(graphs)
    replay: Replay = recording.replay
    return replay
