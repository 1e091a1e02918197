"""An emulated GPU for machines that have none: torch reports one, and operations on its tensors are counted."""

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
    """Give torch a GPU, ``cuda:0``, within this context; afterwards everything is as it was.

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
    """Return stand-ins for functions of :mod:`torch.cuda`; the GPU's memory is nearly empty and stays so."""
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
    """Return a stand-in for :func:`torch.tensor`, which makes a tensor on the host and copies it."""

    def tensor_on(data: Any, *, dtype: Any = None, device: Any = None, **options: Any) -> Tensor:
        tensor = make(data, dtype=dtype, **options)
        return tensor if device is None else tensor.to(device)

    return tensor_on


def _as_tensor(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a stand-in for :func:`torch.as_tensor`, which copies only what is not on the device yet."""

    def tensor_on(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
        tensor = data if isinstance(data, Tensor) else make(data, dtype=dtype)
        return tensor.to(device=device, dtype=dtype)

    return tensor_on


def _record(mode: CountingMode) -> recorded.Record:
    """Return a stand-in for :func:`ensemble_mtl.train.recorded.cuda_graph` that does the step at each replay."""

    def record(step: recorded.Step, graphs: Tensor) -> recorded.Replay:
        mode.recordings += 1

        def replay() -> None:
            mode.replays += 1
            with mode.recorded():
                step(graphs)

        return replay

    return record
