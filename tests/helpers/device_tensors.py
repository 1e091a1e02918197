"""Tensors that say they are on a GPU, and keep their values in ordinary memory.

Only :class:`helpers.counting_mode.CountingMode` can compute with them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

HOST, DEVICE = torch.device("cpu"), torch.device("cuda", 0)


class DeviceTensor(Tensor):
    """A tensor that says it is on ``cuda:0``; torch's C++ code takes its device for ``meta``, which every build has.

    Attributes:
        host_values: the CPU tensor that stands for memory on the device.
    """

    host_values: Tensor
    # Otherwise the result of a copy to the host would be made a DeviceTensor again.
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host_values: Tensor) -> DeviceTensor:
        """Return a tensor of the same shape, strides and type."""
        tensor = Tensor._make_wrapper_subclass(
            cls,
            host_values.shape,
            strides=host_values.stride(),
            storage_offset=host_values.storage_offset(),
            dtype=host_values.dtype,
            device="meta",
        )
        tensor.host_values = host_values
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refuse an operation outside of the mode, which would otherwise handle it before this class does."""
        raise RuntimeError(f"{func} of a tensor that outlived the emulated device")

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        return self.detach()

    @data.setter
    def data(self, values: DeviceTensor) -> None:
        self.host_values = values.host_values

    def get_device(self) -> int:
        return 0

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.host_values.untyped_storage()

    def __repr__(self, **options: Any) -> str:
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype})"

    def numpy(self, **options: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __getitem__(self, key: Any) -> Tensor:
        return super().__getitem__(_lists_moved(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_lists_moved(key), value)


def _lists_moved(key: Any) -> Any:
    """Return the index with its lists of numbers as device tensors, which torch makes of them by a copy."""
    if isinstance(key, tuple):
        return tuple(map(_lists_moved, key))
    return move(torch.tensor(key), DEVICE) if isinstance(key, list) else key


def move(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Do ``tensor.to(...)``, whose C++ code would ask the CUDA runtime for the present device, which is not there."""
    device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
    dtype = tensor.dtype if dtype is None else dtype
    # "meta" is what the C++ code says of another device tensor, as in `tensor.to(other)`
    to_device = isinstance(tensor, DeviceTensor) if device is None else device.type in ("cuda", "meta")
    if (to_device, dtype) == (isinstance(tensor, DeviceTensor), tensor.dtype):
        return tensor
    return torch.ops.aten._to_copy.default(tensor, dtype=dtype, device=DEVICE if to_device else HOST)
