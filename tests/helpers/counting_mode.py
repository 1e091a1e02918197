"""A mode that counts what a GPU would have to do.

The :class:`CountingMode` computes with the values of :class:`helpers.device_tensors.DeviceTensor` on the CPU, so
results are torch's own, bit for bit. On the way it refuses what CUDA refuses and counts what costs time there: kernels,
bytes, copies between host and device, and the moments at which the host must wait for the device.

It shows neither the time that a kernel takes, nor the order in which atomic additions happen.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import ensemble_mtl
from helpers.device_tensors import HOST, DeviceTensor

TO_HOST, TO_DEVICE = "to host", "to device"
PACKAGE = f"{Path(ensemble_mtl.__file__).parent}/"

INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
"""Operations on device tensors whose index tensors may be on the host; torch copies those."""
GATHERING = {"index", "index_select", "gather", "take"}
"""Operations that read no more of their input than they return."""
NO_KERNEL = {"_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
"""Operations that only describe or reserve memory, besides those that the schema calls views."""
WAITING = {
    *("_linalg_eigh", "_unique2", "allclose", "bincount", "equal"),
    *("masked_select", "nonzero", "unique_consecutive", "unique_dim"),
}
"""Operations after which the host waits: it needs a size, an answer or an error code before it goes on."""


class Operation:
    """One call of an ATen operation.

    Attributes:
        func: torch's function.
        args: its positional arguments.
        kwargs: its keyword arguments.
        name: name of the function, without the overload.
        tensors: all tensors among the arguments, in their order.
        on_device: tensors among the arguments that are on the device.
        on_host: tensors among the arguments that are on the host.
        makes_device: whether its results are on the device.
    """

    def __init__(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.name: str = func.overloadpacket.__name__
        self.tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self.on_device = [tensor for tensor in self.tensors if isinstance(tensor, DeviceTensor)]
        self.on_host = [tensor for tensor in self.tensors if not isinstance(tensor, DeviceTensor)]
        self.makes_device = self._makes_device()

    def _makes_device(self) -> bool:
        if (device := self.kwargs.get("device")) is not None:
            return torch.device(device).type in ("cuda", "meta")
        if self.name in (*INDEXING, "copy_"):
            return isinstance(self.args[0], DeviceTensor)
        return bool(self.on_device)

    @property
    def indices(self) -> list[Tensor]:
        """The index tensors of an indexing operation."""
        return [index for index in self.args[1] if index is not None] if self.name in INDEXING else []

    @property
    def waits(self) -> bool:
        """Whether the host needs the operation's result before it goes on."""
        unknown_size = self.name == "repeat_interleave" and self.kwargs.get("output_size") is None
        return bool(self.on_device) and (self.name in WAITING or unknown_size)

    @property
    def is_kernel(self) -> bool:
        """Whether it starts work on the device or the host, instead of describing memory anew."""
        returned = [result.alias_info for result in self.func._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in returned)
        return not is_view and self.name not in NO_KERNEL

    def on_values(self) -> Any:
        """Return its result, computed by the CPU; a tensor that was changed in place is the same tensor as before."""
        kwargs = {**self.kwargs, "device": HOST} if self.kwargs.get("device") is not None else self.kwargs
        result = self.func(*tree_map(_values, self.args), **tree_map(_values, kwargs))
        if not self.makes_device:
            return result
        changed = {id(tensor.host_values): tensor for tensor in self.on_device}

        def on_device(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            return changed[id(leaf)] if id(leaf) in changed else DeviceTensor(leaf)

        return tree_map(on_device, result)

    def num_bytes(self, result: Any) -> int:
        """Return the number of bytes that it reads and writes on the device, each counted once."""
        written = sum(map(_num_bytes, filter(_is_device, tree_leaves(result))))
        return written + (written if self.name in GATHERING else sum(map(_num_bytes, self.on_device)))


def _values(leaf: Any) -> Any:
    return leaf.host_values if isinstance(leaf, DeviceTensor) else leaf


def _is_device(leaf: Any) -> bool:
    return isinstance(leaf, DeviceTensor)


def _num_bytes(tensor: Tensor) -> int:
    """Return the bytes of memory behind a tensor, which are fewer than those of its entries where it is expanded."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride else min(size, 1)
    return count * tensor.element_size()


class CountingMode(TorchDispatchMode):
    """Counts what a GPU would do while the mode is entered.

    Attributes:
        kernels: operations on the device, by name; each counts as one kernel, though some need several.
        bytes: what the kernels read and write.
        syncs: moments at which the host waits for the device, by what makes it wait.
        copies: copies ``to host`` and ``to device``.
        cpu_ops: operations on the host, by name.
        sites: (what, place), for every copy and synchronisation; the place is ``file:line`` in ensemble_mtl.
        recordings: training steps that were recorded.
        replays: how often recorded steps were done.
    """

    def __init__(self) -> None:
        super().__init__()
        self._recorded = False
        self.reset()

    def reset(self) -> None:
        """Set every count to nothing."""
        self.kernels: Counter[str] = Counter()
        self.syncs: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self.cpu_ops: Counter[str] = Counter()
        self.sites: Counter[tuple[str, str]] = Counter()
        self.bytes = self.recordings = self.replays = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch's compiler away; without this, torch loads the compiler, which takes seconds, to ask it."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count the operation, and do it on the CPU; results that a GPU would hold are tensors of the device."""
        operation = Operation(func, args, kwargs or {})
        self._count_copies(operation)
        if operation.waits:
            self.wait(operation.name)
        result = operation.on_values()
        if not operation.is_kernel or (operation.on_device and not operation.makes_device):
            return result  # neither is a copy to the host, which is counted as a copy
        if operation.makes_device:
            self.kernels[operation.name] += 1
            self.bytes += operation.num_bytes(result)
        else:
            self.cpu_ops[operation.name] += 1
        return result

    def _count_copies(self, operation: Operation) -> None:
        name, tensors = operation.name, operation.tensors
        if any(tensor.device.type == "meta" for tensor in operation.on_host):
            raise RuntimeError(f"{name} at {_site()}: a tensor was made on the device without this mode")
        if name == "_local_scalar_dense":
            self._copy(_is_device(tensors[0]), False)
        elif name == "_to_copy":
            self._copy(_is_device(tensors[0]), operation.makes_device)
        elif name == "copy_":
            self._copy(_is_device(tensors[1]), operation.makes_device)
        else:
            _refuse_mixed(operation)
        for index in operation.indices:
            self._copy(_is_device(index), operation.makes_device)
            if operation.makes_device and index.dtype in (torch.bool, torch.uint8):
                self.wait("mask as index")

    def _copy(self, from_device: bool, to_device: bool) -> None:
        if from_device == to_device:
            return
        direction = TO_DEVICE if to_device else TO_HOST
        self.copies[direction] += 1
        if to_device:
            self._refuse_while_recording(TO_DEVICE)
            self.sites[TO_DEVICE, _site()] += 1
        else:
            self.wait(TO_HOST)

    def wait(self, reason: str) -> None:
        """Count a synchronisation.

        Raises:
            RuntimeError: a recorded step may not have any.
        """
        self._refuse_while_recording(reason)
        self.syncs[reason] += 1
        self.sites[reason, _site()] += 1

    def _refuse_while_recording(self, reason: str) -> None:
        if self._recorded:
            raise RuntimeError(f"operation not permitted when stream is capturing: {reason} at {_site()}")

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Refuse what a CUDA graph cannot record, as long as the context lasts."""
        self._recorded = True
        try:
            yield
        finally:
            self._recorded = False


def _refuse_mixed(operation: Operation) -> None:
    """Raise RuntimeError if tensors of both devices meet; a number on the host may meet tensors of the device."""
    if not operation.on_device:
        return
    moved = set(map(id, operation.indices))
    not_moved = [tensor for tensor in operation.on_host if id(tensor) not in moved]
    writes_host = operation.name.endswith("_") and not _is_device(operation.args[0])
    if any(tensor.dim() for tensor in not_moved) or (not_moved and writes_host):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu, in "
            f"{operation.name} at {_site()}"
        )


def _site() -> str:
    """Return the innermost line of ensemble_mtl that is being executed; ``elsewhere`` if there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            return f"{frame.f_code.co_filename.removeprefix(PACKAGE)}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"
