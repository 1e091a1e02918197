"""Where the parameters of a function meet its rows: which columns of an operation each tensor of parameters makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ensemble_mtl.curvature.forms.rules import SHAPES
from ensemble_mtl.curvature.forms.tape import Step, Tape

NONE = -1
"""In place of a parameter's number: a constant."""


class NotSeparableError(Exception):
    """The gradients of single graphs cannot be told from a pass through all of them."""


class ParameterPlaces(NamedTuple):
    """A tensor that consists of parameters, moved and multiplied by constants.

    Attributes:
        numbers: the number of the parameter in each place; NONE for a constant.
        factor: what each is multiplied by, of the same shape; None for 1.
    """

    numbers: Tensor
    factor: Tensor | None


@dataclass
class Use:
    """One parameter tensor in one operation.

    Attributes:
        step: the operation.
        tensor: number of the parameter tensor.
        columns: of the operation's output, those that the tensor makes.
        outputs: ``[columns]`` which of the tensor's outputs they are.
        inputs: ``[K]`` which of the tensor's inputs the rows are; None where each parameter stands for itself.
        rows: the operation's other factor; None for 1.
        kept: ``[K]`` columns of the rows that meet parameters; None for all.
        factor: what the parameters are multiplied by before; None for 1.
        sign: of the term.
    """

    step: Step
    tensor: int
    columns: Tensor
    outputs: Tensor
    inputs: Tensor | None
    rows: Any
    kept: Tensor | None = None
    factor: Tensor | None = None
    sign: int = 1


class ParameterUses:
    """All uses of parameters on a tape.

    Args:
        tape: θ ``[M, P]`` to anything.
        sizes: outputs and inputs of each tensor that θ consists of; the inputs are 1 for a tensor that is no matrix.

    Attributes:
        places: tensors that only move parameters or multiply them by constants, by their ids.
        uses: in the order of the tape.

    Raises:
        NotSeparableError: an operation on parameters is not known here.
    """

    def __init__(self, tape: Tape, sizes: Sequence[tuple[int, int]]) -> None:
        self._tape, self._sizes = tape, sizes
        ends = [0] + [fan_out * fan_in for fan_out, fan_in in sizes]
        self._offsets = torch.tensor(ends, device=tape.point.device).cumsum(0)
        self.places = self._find_places()
        self.uses = [use for step in tape.steps for use in self._uses_of(step, self.places)]

    def _find_places(self) -> dict[int, ParameterPlaces]:
        point = self._tape.point
        numbers = torch.arange(point.shape[1], dtype=torch.int32, device=point.device).expand(point.shape)
        arranged = {id(point): ParameterPlaces(numbers, None)}
        dependent = {id(point)}
        for step in self._tape.steps:
            own = [id(tensor) for tensor in step.inputs if id(tensor) in dependent]
            if all(name in arranged for name in own):
                arranged.update(zip(map(id, step.outputs), _rearranged(step, arranged), strict=False))
            dependent.update(map(id, step.outputs))
        return arranged

    def _uses_of(self, step: Step, arranged: dict[int, ParameterPlaces]) -> Iterator[Use]:
        met = {id(tensor) for tensor in step.inputs if id(tensor) in arranged and _has_any(arranged[id(tensor)])}
        if not met or id(step.outputs[0]) in arranged:
            return
        known = [arranged[id(arg)] if id(arg) in met else None for arg in step.args]
        name = step.name.partition(".")[0]
        if step.kwargs or len(known) != _ARGUMENTS.get(name) or len(met) != sum(code is not None for code in known):
            raise NotSeparableError(f"parameters in {step.name}")
        for place, code in enumerate(known):
            if code is None:
                continue
            if name in ("bmm", "baddbmm") and place == len(known) - 1:
                yield from self._matrix(step, code, step.args[place - 1], arranged)
            elif name == "bmm" or (name == "baddbmm" and place == 1):
                raise NotSeparableError("a parameter as the rows of a product")
            else:
                rows = _factor(name, place, step.args)
                if id(rows) in arranged:
                    raise NotSeparableError("a product of parameters")
                yield from self._vector(step, code, rows, -1 if name == "sub" and place == 1 else 1)

    def _matrix(
        self, step: Step, arranged: ParameterPlaces, rows: Tensor, known: dict[int, ParameterPlaces]
    ) -> Iterator[Use]:
        """Of parameters ``[M, K, C]``; each column must belong to one output of one tensor."""
        if id(rows) in known:
            raise NotSeparableError("a product of parameters")
        if arranged.factor is not None:
            raise NotSeparableError("a weight that is multiplied by constants")
        numbers = arranged.numbers[0]
        kept = (numbers.amax(1) != NONE).nonzero().flatten()
        numbers = numbers[kept]
        tensors = self._tensor_of(numbers[0])
        for tensor in tensors.unique().tolist():
            if tensor == NONE:
                continue
            columns = (tensors == tensor).nonzero().flatten()
            fan_in = self._sizes[tensor][1]
            own = numbers[:, columns] - self._offsets[tensor]
            outputs, inputs = own[0] // fan_in, own[:, 0] % fan_in
            if not torch.equal(own, outputs * fan_in + inputs[:, None]):
                raise NotSeparableError("a weight in another arrangement")
            yield Use(step, tensor, columns, outputs, inputs, rows, None if len(kept) == rows.shape[-1] else kept)

    def _vector(self, step: Step, arranged: ParameterPlaces, rows: Any, sign: int) -> Iterator[Use]:
        """Of parameters ``[M, 1, …, 1, C or 1]``: the same for every row.

        Rows with a single feature meet the weights of that one as a matrix with one row would.
        """
        out, numbers = step.outputs[0], arranged.numbers
        if (
            out.dim() < 3
            or numbers.dim() != out.dim()
            or any(size != 1 for size in numbers.shape[1:-1])
            or numbers.shape[-1] not in (1, out.shape[-1])
        ):
            raise NotSeparableError("parameters that differ by row")
        own = numbers[0].flatten().expand(out.shape[-1])
        tensors = self._tensor_of(own)
        for tensor in tensors.unique().tolist():
            if tensor == NONE:
                continue
            columns = (tensors == tensor).nonzero().flatten()
            numbers, (fan_out, fan_in) = own[columns] - self._offsets[tensor], self._sizes[tensor]
            inputs = numbers % fan_in
            if min(fan_out, fan_in) > 1 and isinstance(rows, Tensor) and rows.shape[-1] == 1:
                if arranged.factor is not None or not bool((inputs == inputs[0]).all()):
                    raise NotSeparableError("a weight in another arrangement")
                yield Use(step, tensor, columns, numbers // fan_in, inputs[:1], rows, sign=sign)
            else:
                yield Use(step, tensor, columns, numbers, None, rows, None, arranged.factor, sign)

    def _tensor_of(self, numbers: Tensor) -> Tensor:
        found = torch.bucketize(numbers.long(), self._offsets, right=True) - 1
        return torch.where(numbers == NONE, NONE, found)


def _has_any(arranged: ParameterPlaces) -> bool:
    return bool((arranged.numbers != NONE).any())


def _rearranged(step: Step, known: dict[int, ParameterPlaces]) -> Sequence[ParameterPlaces]:
    """Of the step's outputs; nothing where it does more than to move parameters or to multiply them by constants."""
    if step.name == "mul.Tensor":
        return _multiplied(step, known)
    if step.name not in _MOVING:
        return ()

    def moved(of_tensor: Callable[[Tensor], Tensor], fill: float) -> list[Tensor]:
        args = tree_map(lambda leaf: of_tensor(leaf) if isinstance(leaf, Tensor) else leaf, step.args)
        found = step.function(*args[:2], fill) if step.name == _PAD else step.function(*args, **step.kwargs)
        return [found] if isinstance(found, Tensor) else list(found)

    def number(leaf: Tensor) -> Tensor:
        if id(leaf) in known:
            return known[id(leaf)].numbers
        return torch.full((), NONE, dtype=torch.int32, device=leaf.device).expand(leaf.shape)

    def factor(leaf: Tensor) -> Tensor:
        own = known[id(leaf)].factor if id(leaf) in known else None
        return leaf.new_ones(()).expand(leaf.shape) if own is None else own

    plain = all(known[id(leaf)].factor is None for leaf in step.inputs if id(leaf) in known)
    factors = [None] * len(step.outputs) if plain else moved(factor, 1.0)
    return [ParameterPlaces(*pair) for pair in zip(moved(number, NONE), factors, strict=True)]


def _multiplied(step: Step, known: dict[int, ParameterPlaces]) -> Sequence[ParameterPlaces]:
    """Of parameters ``[M, P]`` times constants, one for each of them; with an axis of rows, the factors are rows."""
    (out,) = step.outputs
    ours = [arg for arg in step.args if id(arg) in known]
    if len(ours) != 1 or out.dim() != 2 or ours[0].shape != out.shape:
        return ()
    (other,) = (arg for arg in step.args if arg is not ours[0])
    former = known[id(ours[0])]
    factor = (out.new_ones(()) if former.factor is None else former.factor) * other
    return [ParameterPlaces(former.numbers, factor.expand(out.shape))]


_PAD = "constant_pad_nd.default"
_MOVING = SHAPES - {"gather.default", "index_select.default", "take.default"} | {_PAD}
"""What may be done to parameters before they are used; not by the numbers in another tensor."""

_ARGUMENTS = {"bmm": 2, "baddbmm": 3, "mul": 2, "add": 2, "sub": 2, "addcmul": 3}


def _factor(name: str, place: int, args: Sequence[Any]) -> Any:
    """What the parameters at this place are multiplied by; None for 1."""
    if name == "mul":
        return args[1 - place]
    return args[3 - place] if name == "addcmul" and place else None
