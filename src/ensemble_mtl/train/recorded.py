"""On a GPU, a training step is recorded as a CUDA graph and replayed.

A step of small graphs is some thousand kernels, and each kernel takes less time than Python needs to launch it. A
recording replays all kernels of a step without Python, always on the same memory. Only the indices of the next batch
are copied into it, from device to device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from ensemble_mtl.core.runtime.devices import free_bytes
from ensemble_mtl.core.runtime.memory import is_shortage

Step = Callable[[Tensor], None]
"""A training step; it is called with the ``[B]`` indices of a batch's graphs."""
Replay = Callable[[], None]
"""A recorded step; it reads the indices of its batch from the tensor that it was recorded with."""
Record = Callable[[Step, Tensor], Replay | None]
"""A function that records a step with a tensor of ``[B]`` indices, without doing it. It returns None where memory
hardly suffices for a recording beside the step itself."""

ROOM, SPARE_BYTES = 1.2, 256 * 2**20
"""A recording has memory of its own: as much as a step takes, and a little for its stream. Memory that a failed
recording has taken may be lost to the process. Hence none is begun unless the free memory is at least :data:`ROOM`
times that of a step, and :data:`SPARE_BYTES` more."""

_REFUSED: list[str] = []
"""Why a step could not be recorded in this process; while there is an entry, no recording is tried."""


class RecordedStep:
    """A training step that is replayed from a recording wherever possible, and is done as it is elsewhere.

    It is called with one batch after the other. The first batch is done as it is, which prepares what a recording must
    not prepare. So is a batch of another size, as the last one of an epoch often is. Where the step cannot be recorded,
    training goes on without a recording, and a warning says so once.

    Args:
        step: changes tensors in place, always the same ones, and nothing else from one batch to the next.
        record: makes the recording; None if the step is never recorded.
    """

    def __init__(self, step: Step, record: Record | None) -> None:
        self._step, self._record = step, record
        self._indices: Tensor | None = None
        self._replay: Replay | None = None

    def __call__(self, graphs: Tensor) -> None:
        """Do the step with the batch ``graphs``, which are ``[B]`` indices on the device.

        Raises:
            RuntimeError: memory does not suffice.
        """
        if self._indices is None:
            self._begin(graphs)
        elif self._record is not None and len(graphs) == len(self._indices):
            self._indices.copy_(graphs)
            self._replay = self._replay or _recorded(self._record, self._step, self._indices)
            if self._replay is not None:
                self._replay()
                return
            self._record = None
        self._step(graphs)

    def _begin(self, graphs: Tensor) -> None:
        """Take the tensor from which a recording reads, and measure the memory of the first step."""
        self._indices = graphs.clone()
        if graphs.is_cuda:
            torch.cuda.reset_peak_memory_stats(graphs.device)


def _recorded(record: Record, step: Step, indices: Tensor) -> Replay | None:
    """Record the step, or return None if that is impossible.

    After a failure nothing keeps the tensors of the attempt alive: its error would, hence only its text is kept.
    """
    if _REFUSED:
        return None
    try:
        return record(step, indices)
    except RuntimeError as error:
        # when a step fails, the end of its recording fails in turn and hides the cause, which is then the context
        shortages = [str(cause) for cause in (error, error.__context__) if cause is not None and is_shortage(cause)]
        reason = str(error)
    if shortages:
        raise torch.OutOfMemoryError(shortages[0])
    _REFUSED.append(reason)
    warnings.warn(f"training goes on slower, since a step could not be recorded: {reason}", stacklevel=2)
    return None


def _has_room(device: torch.device) -> bool:
    """Return whether the memory that the first step took is free once more."""
    step_bytes = torch.cuda.max_memory_allocated(device) - torch.cuda.memory_allocated(device)
    return free_bytes(device) >= ROOM * step_bytes + SPARE_BYTES


def cuda_graph(step: Step, graphs: Tensor) -> Replay | None:
    """Record the step as a CUDA graph, as a :data:`Record`; None where memory hardly suffices.

    Raises:
        RuntimeError: the step does what cannot be recorded, or memory does not suffice.
    """
    if not _has_room(graphs.device):
        return None
    recording = torch.cuda.CUDAGraph()
    # torch.cuda.graph leaves its own stream the current one when a recording fails; the outer context restores it
    stream = torch.cuda.current_stream(graphs.device)
    with torch.cuda.device(graphs.device), torch.cuda.stream(stream), torch.cuda.graph(recording):
        step(graphs)
    replay: Replay = recording.replay
    return replay
