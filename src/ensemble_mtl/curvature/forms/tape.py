"""A tape: the operations by which a function computes its value at one point, in the order in which they run.

Two calculations go over the same tape: second-order Taylor coefficients along a direction
(:mod:`ensemble_mtl.curvature.forms.jets`), and the gradients of single graphs
(:mod:`ensemble_mtl.curvature.forms.gradient_norms`). Operations are those of torch's ATen library, into which every
function of torch is resolved.
"""

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
        function: the operation, such as ``aten.bmm.default``.
        args: its positional arguments.
        kwargs: its keyword arguments.
        outputs: the tensors that it returned.
        last_used: ids of the tensors that no later step reads. What a pass keeps for them is dropped after this step.
        derivatives: f′ and f″ (None for 0) at the input of an elementwise function f; they depend on the point alone,
            so they are computed once. None for every other operation.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Tensor]
    last_used: list[int] = field(default_factory=list)
    derivatives: tuple[Tensor, Tensor | None] | None = None

    @cached_property
    def name(self) -> str:
        """Name of the operation and of its overload in torch's ATen library, such as ``bmm.default``."""
        return str(self.function).removeprefix("aten.")

    @cached_property
    def inputs(self) -> list[Tensor]:
        """All tensors among the arguments, also those in lists."""
        return list(_tensors((*self.args, *self.kwargs.values())))


class Tape(TorchDispatchMode):
    """The steps that lead from ``point`` to ``function(point)``; values that do not depend on the point are constants.

    Tensors are known by their ids. The tape therefore holds every tensor on the way that depends on the point, so that
    no id is given to a second tensor; the memory of their values can be freed (:meth:`forget`).

    Args:
        function: a function of one tensor. Its control flow may depend on values, which are those at the point.
        point: a tensor, which must not be changed as long as the tape is in use.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], point: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.point = point.detach()
        self.steps: list[Step] = []
        self._dependent = {id(self.point)}
        self._forgotten: set[int] = set()
        with torch.no_grad(), self:
            self.value = function(self.point)
        self.steps = _steps_that_reach(self.steps, self.value)
        # Later steps overwrite earlier ones here, so that each tensor ends up with the last step that touches it.
        last = {id(tensor): step for step in self.steps for tensor in [*step.inputs, *step.outputs]}
        last.pop(id(self.value), None)
        for key, step in last.items():
            step.last_used.append(key)

    def forget(self, needed: Iterable[Tensor]) -> None:
        """Free the values of the tensors on the way; their ids and shapes stay.

        Args:
            needed: the tensors whose values stay. A view of one of them, or a tensor of which one is a view, stays too.
        """
        needed_memory = {_memory(tensor) for tensor in [self.point, self.value, *needed]}
        for out in (out for step in self.steps for out in step.outputs):
            if _memory(out) not in needed_memory and out.is_floating_point():
                self._forgotten.add(id(out))
        for out in (out for step in self.steps for out in step.outputs):
            if id(out) in self._forgotten:
                # One NaN, expanded: the shape stays, and whoever reads the value after all will see it.
                out.data = torch.full((), math.nan, dtype=out.dtype, device=out.device).expand(out.shape)

    def replay(self, constants: Container[int], returned: Container[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """Run all steps once more, now so that the value can be differentiated with respect to intermediate tensors.

        Args:
            constants: ids of tensors that are not computed anew, unless their values are forgotten.
            returned: ids of the intermediate tensors with respect to which the value will be differentiated.

        Returns:
            the value, and the intermediate tensors that were asked for, by their ids.
        """
        values: dict[int, Tensor] = {}
        with torch.enable_grad():
            for step in self.steps:
                if all(id(out) in constants and id(out) not in self._forgotten for out in step.outputs):
                    continue
                args, kwargs = tree_map(lambda leaf: values.get(id(leaf), leaf), (step.args, step.kwargs))
                outputs = _tensors([step.function(*args, **kwargs)])
                for recorded, replayed in zip(step.outputs, outputs, strict=True):
                    if id(recorded) in returned and not replayed.requires_grad:
                        replayed.requires_grad_()
                    values[id(recorded)] = replayed
                for key in step.last_used:
                    if key not in returned:
                        values.pop(key, None)
        return values[id(self.value)], {key: value for key, value in values.items() if key in returned}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: to skip its compiler here, torch would first import it, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and record it if its result depends on the point."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        step = Step(func, args, kwargs, list(_tensors([result])))
        # Detached values are constants on purpose. Indices and masks are constants, too, since they change in jumps.
        varies = step.name != "detach.default" and any(out.is_floating_point() for out in step.outputs)
        if varies and any(id(tensor) in self._dependent for tensor in step.inputs):
            self.steps.append(step)
            self._dependent.update(map(id, step.outputs))
        return result


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """All tensors among the values, and in the lists and tuples among them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _steps_that_reach(steps: list[Step], value: Tensor) -> list[Step]:
    """The steps on which the value depends, in their order.

    A step that writes into a tensor stays in any case: a view of that tensor, or the tensor of which it is a view, may
    be read by other steps.
    """
    needed, reaching = {id(value)}, []
    for step in reversed(steps):
        if step.function._schema.is_mutable or any(id(out) in needed for out in step.outputs):
            needed.update(map(id, step.inputs))
            reaching.append(step)
    return reaching[::-1]


def _memory(tensor: Tensor) -> int:
    """Address of the memory that a tensor shares with all its views."""
    return tensor.untyped_storage().data_ptr()
