"""A GPU for machines that have none: torch says that there is one, and its tensors count what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from ensemble_mtl.train import recorded
from helpers.counting_mode import CountingMode
from helpers.device_tensors import move

TOTAL_BYTES, FREE_BYTES = 80 * 2**30, 79 * 2**30
NAME = "emulated GPU"


@contextmanager
def emulated() -> Iterator[CountingMode]:
    """Within this context torch has a GPU, ``cuda:0``; afterwards everything is as it was.

    Its tensors hold their values in the host's memory (:mod:`helpers.device_tensors`), so numbers are those of the
    CPU. A training step that is recorded is done anew each time it is replayed, and may then neither wait for the
    device nor copy from or to the host.
    """
    mode = CountingMode()
    with pytest.MonkeyPatch.context() as patch:
        for name, stand_in in _cuda(mode).items():
            patch.setattr(torch.cuda, name, stand_in)
        for name, stand_in in {"tensor": _tensor(torch.tensor), "as_tensor": _as_tensor(torch.as_tensor)}.items():
            patch.setattr(torch, name, stand_in)
        patch.setattr(Tensor, "to", move)
        patch.setattr(recorded, "cuda_graph", _record(mode))
        with mode:
            yield mode


def _cuda(mode: CountingMode) -> dict[str, Callable[..., Any]]:
    """What :mod:`torch.cuda` says of itself; its memory is nearly empty and stays so."""
    return {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "get_device_name": lambda device=None: NAME,
        "synchronize": lambda device=None: mode.wait("synchronize"),
        "mem_get_info": lambda device=None: (FREE_BYTES, TOTAL_BYTES),
        "memory_reserved": lambda device=None: 0,
        "memory_allocated": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: 0,
        "reset_peak_memory_stats": lambda device=None: None,
        "empty_cache": lambda: None,
    }


def _tensor(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """:func:`torch.tensor`, which makes a tensor on the host and copies it."""

    def made(data: Any, *, dtype: Any = None, device: Any = None, **options: Any) -> Tensor:
        tensor = make(data, dtype=dtype, **options)
        return tensor if device is None else tensor.to(device)

    return made


def _as_tensor(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """:func:`torch.as_tensor`, which copies only what is not there yet."""

    def made(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
        tensor = data if isinstance(data, Tensor) else make(data, dtype=dtype)
        return tensor.to(device=device, dtype=dtype)

    return made


def _record(mode: CountingMode) -> recorded.Record:
    """:func:`ensemble_mtl.train.recorded.cuda_graph`, without a graph."""

    def record(step: recorded.Step, graphs: Tensor) -> recorded.Replay:
        mode.recordings += 1

        def replay() -> None:
            mode.replays += 1
            with mode.recorded():
                step(graphs)

        return replay

    return record
