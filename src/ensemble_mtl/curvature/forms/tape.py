"""What a function of one tensor does, operation by operation, at one point."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map


@dataclass
class Step:
    """One operation whose inputs depend on the point.

    Attributes:
        function: of torch's ATen library.
        args: as it was given them.
        kwargs: likewise.
        outputs: what it returned.
        finished: ids of tensors that no later step reads.
        derivatives: of an elementwise function; kept between passes.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Tensor]
    finished: list[int] = field(default_factory=list)
    derivatives: tuple[Tensor, Tensor | None] | None = None

    @cached_property
    def name(self) -> str:
        """E.g. ``bmm.default``, of torch's ATen library."""
        return str(self.function).removeprefix("aten.")

    @cached_property
    def inputs(self) -> list[Tensor]:
        """Tensors among the arguments."""
        return list(_tensors((*self.args, *self.kwargs.values())))


class Tape(TorchDispatchMode):
    """The steps that lead from ``point`` to ``function(point)``; values that do not depend on it are constants.

    It holds every tensor on the way that depends on the point, so that ids name them; their values can be forgotten.

    Args:
        function: its control flow may depend on values, which are those at the point.
        point: a tensor, which nobody may change as long as the tape is in use.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], point: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.point = point.detach()
        self.steps: list[Step] = []
        self._dependent = {id(self.point)}
        self._forgotten: set[int] = set()
        with torch.no_grad(), self:
            self.value = function(self.point)
        self.steps = _reaching(self.steps, self.value)
        last = {id(tensor): step for step in self.steps for tensor in [*step.inputs, *step.outputs]}
        last.pop(id(self.value), None)
        for name, step in last.items():
            step.finished.append(name)

    def forget(self, read: Iterable[Tensor]) -> None:
        """Let go of the values, not the names and shapes, of tensors on the way, but for those that are ``read``."""
        kept = {_memory(tensor) for tensor in [self.point, self.value, *read]}
        for out in (out for step in self.steps for out in step.outputs):
            if _memory(out) not in kept and out.is_floating_point():
                self._forgotten.add(id(out))
        for out in (out for step in self.steps for out in step.outputs):
            if id(out) in self._forgotten:
                out.data = torch.full((), math.nan, dtype=out.dtype, device=out.device).expand(out.shape)

    def replay(self, constants: Container[int], kept: Container[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """Do it again, now with gradients.

        Args:
            constants: ids of tensors that are left as they are.
            kept: ids of those that are returned.

        Returns:
            the value, and by their ids the tensors that are kept; the value can be differentiated by them.
        """
        values: dict[int, Tensor] = {}
        with torch.enable_grad():
            for step in self.steps:
                if all(id(out) in constants and id(out) not in self._forgotten for out in step.outputs):
                    continue
                args, kwargs = tree_map(lambda leaf: values.get(id(leaf), leaf), (step.args, step.kwargs))
                found = _tensors([step.function(*args, **kwargs)])
                for out, again in zip(step.outputs, found, strict=True):
                    if id(out) in kept and not again.requires_grad:
                        again.requires_grad_()
                    values[id(out)] = again
                for name in step.finished:
                    if name not in kept:
                        values.pop(name, None)
        return values[id(self.value)], {name: values[name] for name in values if name in kept}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch asks; otherwise it loads its compiler, for seconds, only to keep it away from here."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the operation and do it."""
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        step = Step(func, args, kwargs, list(_tensors([found])))
        # What is detached on purpose is a constant, and so is an index or a mask, which moves by jumps only.
        moves = step.name != "detach.default" and any(out.is_floating_point() for out in step.outputs)
        if moves and any(id(tensor) in self._dependent for tensor in step.inputs):
            self.steps.append(step)
            self._dependent.update(map(id, step.outputs))
        return found


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Tensors among the values, and in the lists and tuples among them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _reaching(steps: list[Step], value: Tensor) -> list[Step]:
    """The steps whose outputs the value is made of.

    A step that writes into a tensor stays, since a view of it, or what it is a view of, may be read by others.
    """
    needed, found = {id(value)}, []
    for step in reversed(steps):
        if step.function._schema.is_mutable or any(id(out) in needed for out in step.outputs):
            needed.update(map(id, step.inputs))
            found.append(step)
    return found[::-1]


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
