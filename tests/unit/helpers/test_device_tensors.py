"""The emulated GPU itself: torch's results, CUDA's refusals, and what is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from helpers.counting_mode import TO_DEVICE, TO_HOST, CountingMode
from helpers.device_tensors import DeviceTensor
from helpers.emulated_cuda import emulated
from helpers.recordings import run_batches
from torch import Tensor

from ensemble_mtl.data import topology
from ensemble_mtl.train import recorded


@pytest.fixture
def gpu() -> Iterator[CountingMode]:
    with emulated() as mode:
        yield mode


def ramp(count: int = 4, **options: Any) -> Tensor:
    """0, 1, … on the device, made there."""
    return torch.arange(count, dtype=torch.float64, device="cuda", **options)


def test_a_tensor_says_that_it_is_on_the_device(gpu: CountingMode):
    for tensor in (ramp(), torch.tensor([1.0], device="cuda"), torch.as_tensor(np.ones(3), device="cuda"), ramp()[1:]):
        assert isinstance(tensor, DeviceTensor)
        assert (tensor.device, tensor.is_cuda) == (torch.device("cuda", 0), True)
    assert torch.cuda.is_available()


FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "product": lambda x, y: x @ y.T,
    "sum of selected rows": lambda x, y: x.index_add(0, torch.tensor([1, 1, 0]).to(x.device), y),
    "in place": lambda x, y: x.clone().mul_(2).add_(y),
    "view": lambda x, y: x.T.flatten()[2:].clone(),
    "mask": lambda x, y: x[x > y],
    "list of rows": lambda x, y: x[[2, 0]],
    "eigenvalues": lambda x, y: torch.linalg.eigh(x @ x.T)[0],
    "mixed with a number on the host": lambda x, y: x * torch.tensor(0.5),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_and_gradients_are_those_of_torch(name: str):
    def value_and_gradient(device: str) -> list[Tensor]:
        x, y = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(device)
        x.requires_grad_()
        value = FUNCTIONS[name](x, y)
        (gradient,) = torch.autograd.grad(value.square().sum(), x)
        return [value.detach().to("cpu"), gradient.to("cpu")]

    expected = value_and_gradient("cpu")
    with emulated():
        assert all(map(torch.equal, value_and_gradient("cuda"), expected))


def test_a_change_in_place_is_seen_through_every_view(gpu: CountingMode):
    x = ramp(6)
    view = x.view(2, 3)[1]
    assert x.add_(1) is x
    view[0] = 9.0
    assert x.tolist() == [1, 2, 3, 9, 5, 6]


MIXED: dict[str, Callable[[Tensor], Any]] = {
    "sum": lambda x: x + torch.ones(4),
    "product": lambda x: torch.ones(4, 4, dtype=torch.float64) @ x,
    "selection": lambda x: x.index_select(0, torch.tensor([0])),
    "into a number on the host": lambda x: torch.zeros((), dtype=torch.float64).add_(x.sum()),
    "host tensor by device index": lambda x: torch.ones(4)[x.long()],
    "concatenation": lambda x: torch.cat([x, torch.ones(4, dtype=torch.float64)]),
}


@pytest.mark.parametrize("name", MIXED)
def test_tensors_of_both_devices_are_refused(gpu: CountingMode, name: str):
    x = ramp()
    with pytest.raises(RuntimeError, match="on the same device"):
        MIXED[name](x)


@pytest.mark.parametrize("convert", [lambda x: x.numpy(), np.asarray], ids=["numpy", "asarray"])
def test_a_device_tensor_is_no_array(gpu: CountingMode, convert: Callable[[Tensor], Any]):
    x = ramp()
    with pytest.raises(TypeError, match="cuda:0"):
        convert(x)


WAITING: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "int": (lambda x: int(x[1]), TO_HOST),
    "item": (lambda x: x[1].item(), TO_HOST),
    "bool": (lambda x: bool((x > 1).any()), TO_HOST),
    "tolist": (lambda x: x.tolist(), TO_HOST),
    "cpu": (lambda x: x.cpu(), TO_HOST),
    "to": (lambda x: x.to("cpu"), TO_HOST),
    "copy": (lambda x: torch.zeros(4, dtype=x.dtype).copy_(x), TO_HOST),
    "mask": (lambda x: x[x > 1], "mask as index"),
    "assignment by a mask": (lambda x: x.__setitem__(x > 1, 0.0), "mask as index"),
    "nonzero": (lambda x: x.nonzero(), "nonzero"),
    "unique": (lambda x: x.unique(), "_unique2"),
    "bincount": (lambda x: torch.bincount(x.long()), "bincount"),
    "repeat": (lambda x: x.repeat_interleave(x.long()), "repeat_interleave"),
    "synchronize": (lambda x: torch.cuda.synchronize(), "synchronize"),
}


@pytest.mark.parametrize("name", WAITING)
def test_the_host_waits_once(gpu: CountingMode, name: str):
    x = ramp()
    gpu.reset()
    function, reason = WAITING[name]
    function(x)
    assert gpu.syncs == {reason: 1}
    assert gpu.sites[reason, "elsewhere"] == 1
    assert gpu.copies == ({TO_HOST: 1} if reason == TO_HOST else {})


def test_what_needs_no_answer_is_not_waited_for(gpu: CountingMode):
    x, rows = ramp(), torch.ones(4, dtype=torch.int64, device="cuda")
    gpu.reset()
    torch.where(x > 1, x, 0.0).sum()
    x.repeat_interleave(rows, output_size=4)
    x.to(torch.float32).to("cuda")
    x[rows] = 2.0
    assert not gpu.syncs
    assert not gpu.copies


def test_copies_to_the_device_are_counted(gpu: CountingMode):
    x = torch.ones(3).to("cuda")
    torch.tensor([1.0], device="cuda")
    torch.as_tensor(np.ones(3), device="cuda")
    x.copy_(torch.ones(3))
    x[[0, 2]]
    x[torch.tensor([0])]
    assert gpu.copies == {TO_DEVICE: 6}
    gpu.reset()
    assert torch.as_tensor(x, device=x.device) is x
    assert not gpu.copies


def test_kernels_bytes_and_work_of_the_host_are_counted(gpu: CountingMode):
    x = ramp().expand(3, 4)
    gpu.reset()
    (x.T[1:] + 1).sum()
    torch.ones(2).square()
    assert gpu.kernels == {"add": 1, "sum": 1}
    # nine expanded entries stand in three places
    assert gpu.bytes == 8 * (3 + 9) + 8 * (9 + 1)
    assert gpu.cpu_ops == {"ones": 1, "pow": 1}


def test_the_place_that_waits_is_named(gpu: CountingMode):
    edges = torch.tensor([[1, 0], [0, 1]], device="cuda")
    topology.make(2, edges, None, dtype=torch.float64, shared=True)
    places = {place.partition(":")[0] for _, place in gpu.sites if place != "elsewhere"}
    assert places == {"data/topology.py", "data/padded_slots.py"}


def test_values_that_are_let_go_of_are_gone(gpu: CountingMode):
    """Otherwise the emulation would hide that something is read which a GPU no longer has."""
    x = ramp()
    view, other = x[1:], ramp()
    assert x.untyped_storage().data_ptr() == view.untyped_storage().data_ptr() != other.untyped_storage().data_ptr()
    x.data = torch.full((), torch.nan, dtype=x.dtype, device=x.device).expand(4)
    assert x.isnan().all()
    assert view.tolist() == [1, 2, 3]


def test_a_recorded_step_is_done_when_it_is_replayed(gpu: CountingMode):
    total = torch.zeros((), device="cuda")
    run_batches(lambda graphs: total.add_(graphs.sum()), ramp(11).float().split(3), recorded.cuda_graph)
    assert (gpu.recordings, gpu.replays) == (1, 2)  # the first and the last, smaller one are done as they are
    assert int(total) == 55


@pytest.mark.parametrize(
    "forbidden", [lambda graphs: graphs.sum().item(), lambda graphs: torch.ones(3).to(graphs)], ids=["wait", "copy"]
)
def test_a_recorded_step_may_not_meet_the_host(gpu: CountingMode, forbidden: Callable[[Tensor], Any]):
    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        run_batches(lambda graphs: None if len(graphs) < 3 else forbidden(graphs), [ramp(3)] * 2, recorded.cuda_graph)


def test_everything_is_restored_after_an_error():
    names = ("_lazy_init", "is_available", "synchronize", "mem_get_info", "get_device_name")

    def present() -> list[Any]:
        functions = [torch.tensor, torch.as_tensor, Tensor.to, vars(Tensor).get("to"), recorded.cuda_graph]
        return [*functions, *(getattr(torch.cuda, name) for name in names), torch._C._len_torch_dispatch_stack()]

    def fail() -> None:
        with emulated():
            assert all(inside is not outside for inside, outside in zip(present(), before, strict=True))
            raise ZeroDivisionError

    before = present()
    with pytest.raises(ZeroDivisionError):
        fail()
    assert present() == before


def test_a_device_tensor_is_of_no_use_afterwards():
    with emulated():
        x = ramp()
    with pytest.raises(RuntimeError, match="outlived"):
        x + 1
