"""Part 0: versions, imports, and what the device can do at most."""

from __future__ import annotations

import importlib
import platform
import shutil
import subprocess

import torch

from benchmarks.gpu.clock import MIB, forget_memory, seconds
from benchmarks.gpu.part import EMULATED, Record, Setting, main, says

PACKAGES = ("numpy", "scipy", "torch_geometric", "triton", "numba", "pydantic", "adios2", "ensemble_mtl", "rdkit",
            "pyhessian")  # fmt: skip
CARD = "name,driver_version,memory.total,clocks.sm,clocks.mem,power.limit"
PRECISIONS = {"float32": (torch.float32, False), "tf32": (torch.float32, True), "float64": (torch.float64, False)}


def measure(setting: Setting, record: Record) -> None:
    """Write the versions, then the ceilings."""
    record["python"], record["torch"] = platform.python_version(), torch.__version__
    record["card"] = card(setting)
    if setting.real_gpu:
        record["driver"] = _driver()
    record["packages"] = {name: _version(name) for name in PACKAGES}
    _measure_ceilings(setting, record)
    record["loops"] = _loops()  # compiled where nothing is kept from before, which may take long


def _measure_ceilings(setting: Setting, record: Record) -> None:
    if setting.emulated:
        record["ceilings"] = EMULATED
        return
    record["ceilings"] = ceilings = {"product_flops": {}, "copy_bytes": None}
    for name, (dtype, tf32) in PRECISIONS.items():
        if setting.real_gpu or not tf32:
            ceilings["product_flops"][name] = _product_flops(setting, dtype, tf32)
    ceilings["copy_bytes"] = _copy_bytes(setting)
    record.write()


def card(setting: Setting) -> str:
    """What the device is called."""
    if setting.emulated:
        return "emulated"
    if setting.real_gpu:
        found = torch.cuda.get_device_properties(setting.torch_device)
        size = f"{found.total_memory / MIB / 1024:.0f} GiB, {found.multi_processor_count} multiprocessors"
        return f"{found.name}, {size}, compute capability {found.major}.{found.minor}, CUDA {torch.version.cuda}"
    from ensemble_mtl.core.runtime.provenance import device_name

    return device_name(setting.torch_device)


def _version(name: str) -> str:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # whatever it is, it is the answer
        return f"not imported ({says(error)})"
    return str(getattr(module, "__version__", "imported"))


def _loops() -> str:
    """Whether the loops for CPUs are compiled."""
    try:
        from ensemble_mtl.models import kernels

        kernels.load()
    except Exception as error:  # likewise
        return f"not usable ({says(error)})"
    return "plain operations" if hasattr(importlib.import_module("numba"), "STAND_IN") else "compiled"


def _driver() -> str:
    """One line of the driver's own tool, where it is installed."""
    if shutil.which("nvidia-smi") is None:
        return "no nvidia-smi"
    command = ["nvidia-smi", f"--query-gpu={CARD}", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _product_flops(setting: Setting, dtype: torch.dtype, tf32: bool) -> float:
    """Of a product of large square matrices, per second."""
    side = 8192 if setting.real_gpu else 1024
    former = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        forget_memory(setting)
        a = torch.randn(side, side, dtype=dtype, device=setting.torch_device)
        product = torch.empty_like(a)
        return 2 * side**3 / seconds(lambda: torch.mm(a, a, out=product), setting, calls=3 if setting.real_gpu else 1)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = former


def _copy_bytes(setting: Setting) -> float:
    """Read and written by a copy of a large array, per second."""
    values = torch.randn(2**29 if setting.real_gpu else 2**24, device=setting.torch_device)
    to = torch.empty_like(values)
    return 2 * values.numel() * values.element_size() / seconds(lambda: to.copy_(values), setting, calls=3)


if __name__ == "__main__":
    main(measure)
