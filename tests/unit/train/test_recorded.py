"""Recorded training steps, by an imitation of CUDA graphs: all that is not a tensor is frozen in the recording."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.problems import make, start
from helpers.recordings import run_batches
from helpers.stores import lattice_store
from helpers.trunks import with_trunk
from helpers.weightings import ALL
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from ensemble_mtl.config import registry
from ensemble_mtl.models import kernels
from ensemble_mtl.train import recorded
from ensemble_mtl.train.loop import run_epoch
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem

STORE = lattice_store(13)
TASKS = ("H", "C", "G")
WEIGHTS = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
OF_UNKNOWN_SIZE = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "repeat_interleave", "bincount")
"""Operations whose result the CPU must know before it goes on, which ends a recording."""
MADE_ON_THE_CPU = ("lift_fresh",)
"""Operations that make constants on the CPU, from where they would be copied."""


class Operations(TorchDispatchMode):
    """Records the operations that are done, with the very tensors that they read and make."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, *tree_map(_memory, (args, kwargs or {}, result))))
        return result

    @torch.no_grad()
    def repeat(self) -> None:
        """Do all operations again on the same memory; all that is not a tensor is as it was when they were recorded."""
        for func, args, kwargs, result in self.calls:
            inputs = {_address(leaf) for leaf in tree_leaves((args, kwargs)) if is_tensor(leaf)}
            new_result = func(*args, **kwargs)
            for before, now in zip(tree_leaves(result), tree_leaves(new_result), strict=True):
                # A view shows its base's memory anyway, and what is done in place has been done by now.
                if is_tensor(before) and _address(before) not in inputs:
                    before.copy_(now)


def _memory(value: Any) -> Any:
    """Return a tensor on the same memory without autograd's history; any other value as it is."""
    return value.detach() if is_tensor(value) else value


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


class Imitation:
    """Records a step's operations and repeats them.

    Recording does the step once, other than on a GPU; so the first replay does nothing.
    """

    def __init__(self) -> None:
        self.recordings: list[Operations] = []
        self.replays = 0

    def __call__(self, step: recorded.Step, graphs: Tensor) -> Callable[[], None]:
        with Operations() as recording:
            step(graphs)
        self.recordings.append(recording)
        is_done = iter([True])

        def replay() -> None:
            self.replays += 1
            if not next(is_done, False):
                recording.repeat()

        return replay


@pytest.fixture(autouse=True)
def nothing_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "_REFUSED", [])


@pytest.fixture
def imitation(monkeypatch: pytest.MonkeyPatch) -> Imitation:
    """Return the imitation that records every training from here on."""
    record, recorded_step = Imitation(), recorded.RecordedStep
    monkeypatch.setattr(recorded, "RecordedStep", lambda step, _: recorded_step(step, record))
    monkeypatch.setattr(kernels, "usable", lambda _: False)  # torch's operations, which run on a GPU
    return record


def trained(problem: Problem) -> StackState:
    state = start(problem, [0, 1])
    for _ in range(2):
        run_epoch(problem, state, WEIGHTS)
    return state


def problem_of(trunk: str = "convolutions", labels: bool = True, **options: Any) -> Problem:
    """Return a problem with nine training graphs, in batches of three.

    Adam's ε is large enough that a gradient which is nothing but rounding stays small.
    """
    options["optimizer"] = {"name": "adam", "eps": 1e-3, **options.get("optimizer", {})}
    problem = make(lattice_store(13, missing=0.0 if labels else 0.3), TASKS, **options)
    if trunk == "convolutions":
        return problem
    return with_trunk(problem, trunk, width=4, steps=2)


CASES = [
    pytest.param({"trunk": "graph_network"}, id="graph_network"),
    pytest.param({"labels": False}, id="missing labels"),
    *[pytest.param({"weighting": mark.values[0]}, id=mark.id) for mark in ALL if "aggregator" not in mark.values[0]],
    *[pytest.param({"optimizer": {"name": name}}, id=name) for name in registry.names("train.optimizer")],
    *[pytest.param({"conv": name}, id=name) for name in registry.names("models.conv")],
]


@pytest.mark.parametrize("options", CASES)
def test_replayed_steps_are_the_steps(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, imitation: Imitation):
    problem = problem_of(**options)
    replayed = trained(problem)
    assert (len(imitation.recordings), imitation.replays) == (2, 4)
    monkeypatch.undo()
    monkeypatch.setattr(kernels, "usable", lambda _: False)
    expected = trained(problem)
    for name in expected.tensors.keys() - {"seconds", "stack_seconds"}:
        assert torch.equal(replayed[name], expected[name])
    calls = [call for recording in imitation.recordings for call in recording.calls]
    names = {func.overloadpacket.__name__ for func, *_ in calls}
    assert any("mul" in name for name in names)
    for part in (*OF_UNKNOWN_SIZE, *MADE_ON_THE_CPU):
        assert not [name for name in names if part in name]
    assert not [call for call in calls if by_mask(*call)]


def by_mask(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> bool:
    """Return whether the operation selects by a mask, since the CPU must know the number of its ones."""
    if "index" not in func.overloadpacket.__name__ or len(args) < 2 or not isinstance(args[1], list | tuple):
        return False
    return any(is_tensor(index) and index.dtype == torch.bool for index in args[1])


def test_selections_by_a_mask_are_recognised():
    values = torch.arange(3.0)
    with Operations() as recording:
        values[values > 1], values[torch.tensor([0])]
    assert [by_mask(*call) for call in recording.calls].count(True) == 1


def test_a_batch_of_another_size_is_done_as_it_is(imitation: Imitation):
    total, sizes = torch.zeros(()), []

    def step(graphs: Tensor) -> None:
        sizes.append(len(graphs))
        total.add_(graphs.sum())

    run_batches(step, torch.arange(11.0).split(3), imitation)
    assert sizes == [3, 3, 2]  # the first batch, the recorded one, the last
    assert imitation.replays == 2
    assert total == 55


def test_a_step_that_cannot_be_recorded_goes_on_as_it_is():
    def refuse(step: recorded.Step, graphs: Tensor) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing")

    done: list[list[int]] = []
    with pytest.warns(UserWarning, match=r"could not be recorded: operation not permitted"):
        run_batches(lambda graphs: done.append(graphs.tolist()), torch.arange(7).split(2), refuse)
    assert done == [[0, 1], [2, 3], [4, 5], [6]]
    run_batches(lambda graphs: done.append(graphs.tolist()), torch.arange(4).split(2), refuse)  # and not warned again
    assert done[4:] == [[0, 1], [2, 3]]


def test_a_recording_that_memory_does_not_suffice_for_is_no_slower_training():
    """The error that ends the recording hides the one that was the cause."""

    def short(step: recorded.Step, graphs: Tensor) -> Callable[[], None]:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    with pytest.raises(torch.OutOfMemoryError, match=r"Tried to allocate 2\.00 GiB"):
        run_batches(lambda graphs: None, torch.arange(4).split(2), short)
    assert not recorded._REFUSED


def test_a_failed_recording_keeps_no_tensor():
    """Half of the stack needs their memory at once, and not only when cycles are collected."""

    def train() -> weakref.ref[Tensor]:
        state = torch.zeros(3)

        def short(step: recorded.Step, graphs: Tensor) -> Callable[[], None]:
            raise torch.OutOfMemoryError(f"CUDA out of memory beside {len(state)} values")

        try:
            run_batches(lambda graphs: None, torch.arange(4).split(2), short)
        except torch.OutOfMemoryError:
            return weakref.ref(state)
        raise AssertionError

    gc.disable()
    try:
        assert train()() is None
    finally:
        gc.enable()


def test_where_memory_hardly_suffices_nothing_is_recorded_and_nothing_said():
    asked, done = [], []

    def no_room(step: recorded.Step, graphs: Tensor) -> None:
        asked.append(len(graphs))

    run_batches(lambda graphs: done.append(graphs.tolist()), torch.arange(7).split(2), no_room)
    assert done == [[0, 1], [2, 3], [4, 5], [6]]
    assert asked == [2]


@pytest.mark.parametrize(("free", "room"), [(1.0, False), (1.1, False), (1.5, True)])
def test_a_recording_needs_room_for_another_step(monkeypatch: pytest.MonkeyPatch, free: float, room: bool):
    """A step took 10 GiB beside 20 GiB of weights; 4 GiB are kept by torch, and are free, too."""
    gib = 2**30
    sizes = {"memory_allocated": 20, "max_memory_allocated": 30, "memory_reserved": 24}
    for name, size in sizes.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, size=size: size * gib)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: ((free * 10 - 4) * gib, 80 * gib))
    assert recorded._has_room(torch.device("cuda", 0)) == room


def test_nothing_is_recorded_on_a_cpu(monkeypatch: pytest.MonkeyPatch):
    records = []

    def noted(step: recorded.Step, record: recorded.Record | None) -> recorded.Step:
        records.append(record)
        return step

    monkeypatch.setattr(recorded, "RecordedStep", noted)
    run_epoch(make(STORE, TASKS), start(make(STORE, TASKS), [0, 1]), WEIGHTS)
    assert records == [None]
