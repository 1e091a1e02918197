"""Σ_g ‖∇r_g‖² over the graphs of a batch, for a backward pass through the whole batch and no gradient.

Graphs do not couple: the rows of an operation's output belong to one graph each, and one pass gives the
derivatives δ of all graphs there. Where a weight meets the rows x, graph g's gradient is Σ x ⊗ δ over g's rows,
and its squared norm Σ (x·x′)(δ·δ′) over pairs of them: the P numbers of a gradient are never written.
Source: Goodfellow 2015 (arXiv:1510.01799), here with many rows per example and weights that are used repeatedly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ensemble_mtl.probes.jet_rules import SHAPES
from ensemble_mtl.probes.tape import Step, Tape
from ensemble_mtl.rounding import product

NONE = -1
"""In place of a parameter's number: a constant."""


class NotSeparableError(Exception):
    """The gradients of single graphs cannot be told from a pass through all of them."""


@dataclass
class _Use:
    """One parameter tensor in one operation.

    Attributes:
        step: the operation.
        tensor: number of the parameter tensor.
        columns: of the operation's output, those that the tensor makes.
        outputs: ``[columns]`` which of the tensor's outputs they are.
        inputs: ``[K]`` which of the tensor's inputs the rows are; None where each parameter stands for itself.
        rows: the operation's other factor; None for 1.
        sign: of it.
    """

    step: Step
    tensor: int
    columns: Tensor
    outputs: Tensor
    inputs: Tensor | None
    rows: Any
    sign: int


class GradientNorms:
    """The squared norms, for one function at one point.

    Args:
        tape: θ ``[M, P]`` to residuals ``[M, R]``.
        shapes: of the tensors that θ consists of, ``[out, in]`` or ``[size]``, in their order.
        graph: ``[R]`` each residual's graph.

    Raises:
        NotSeparableError: an operation on parameters is not known here, or graphs couple.
    """

    def __init__(self, tape: Tape, shapes: Sequence[tuple[int, ...]], graph: Tensor) -> None:
        self._tape, self._graph = tape, graph
        self._sizes = [(shape[0], shape[1]) if len(shape) == 2 else (math.prod(shape), 1) for shape in shapes]
        self._offsets = torch.tensor([0] + [out * fan_in for out, fan_in in self._sizes]).cumsum(0)
        codes = self._codes()
        self._uses = [use for step in tape.steps for use in self._uses_of(step, codes)]
        self._value, self._outputs = tape.replay(codes, {id(use.step.outputs[0]) for use in self._uses})
        self._rows = self._places()

    def squares(self, seed: Tensor) -> Tensor:
        """``seed [R]`` to ``[M]``: Σ_g ‖∇ Σ_i seed_i r_i‖² over the residuals i of graph g, float64."""
        deltas = self._deltas(seed)
        total = self._value.new_zeros(len(self._value), dtype=torch.float64)
        for tensor, (uses, places) in self._rows.items():
            total += self._square(tensor, uses, places, deltas)
        return total

    def _codes(self) -> dict[int, Tensor]:
        """Of tensors that only rearrange parameters: the number of the parameter in each place."""
        point = self._tape.point
        numbers = torch.arange(point.shape[1], dtype=torch.int32).expand(point.shape)
        codes = {id(point): numbers}
        dependent = {id(point)}
        for step in self._tape.steps:
            inputs = [id(tensor) for tensor in step.inputs]
            arranged = all(name in codes or name not in dependent for name in inputs)
            name = step.name.removeprefix("aten.")
            if arranged and name in _ARRANGING:

                def code(leaf: Any) -> Any:
                    if not isinstance(leaf, Tensor):
                        return leaf
                    return codes.get(id(leaf), torch.full((), NONE, dtype=torch.int32).expand(leaf.shape))

                args = tree_map(code, step.args)
                found = step.function(*args[:2], NONE) if name == _PAD else step.function(*args, **step.kwargs)
                parts = [found] if isinstance(found, Tensor) else found
                codes.update((id(out), part) for out, part in zip(step.outputs, parts, strict=True))
            dependent.update(map(id, step.outputs))
        return codes

    def _uses_of(self, step: Step, codes: dict[int, Tensor]) -> Iterator[_Use]:
        met = {id(tensor) for tensor in step.inputs if bool((codes.get(id(tensor), _CONSTANT) != NONE).any())}
        if not met or id(step.outputs[0]) in codes:
            return
        known = [codes[id(arg)] if id(arg) in met else None for arg in step.args]
        name = step.name.removeprefix("aten.").partition(".")[0]
        if step.kwargs or len(known) != _ARGUMENTS.get(name) or len(met) != sum(code is not None for code in known):
            raise NotSeparableError(f"parameters in {step.name}")
        for place, code in enumerate(known):
            if code is None:
                continue
            if name in ("bmm", "baddbmm") and place == len(known) - 1:
                yield from self._matrix(step, code[0], step.args[place - 1], codes)
            elif name == "bmm" or (name == "baddbmm" and place == 1):
                raise NotSeparableError("a parameter as the rows of a product")
            else:
                factor = _factor(name, place, step.args)
                if id(factor) in codes:
                    raise NotSeparableError("a product of parameters")
                yield from self._vector(step, code, factor, -1 if name == "sub" and place == 1 else 1)

    def _matrix(self, step: Step, code: Tensor, rows: Any, codes: dict[int, Tensor]) -> Iterator[_Use]:
        """``code [K, C]``; each column must belong to one output of one tensor."""
        if id(rows) in codes:
            raise NotSeparableError("a product of parameters")
        code, kept = code[code.amax(1) != NONE], (code.amax(1) != NONE).nonzero().flatten()
        tensors = self._tensor_of(code[0])
        for tensor in tensors.unique().tolist():
            if tensor == NONE:
                continue
            columns = (tensors == tensor).nonzero().flatten()
            fan_in = self._sizes[tensor][1]
            own = code[:, columns] - self._offsets[tensor]
            outputs, inputs = own[0] // fan_in, own[:, 0] % fan_in
            if not torch.equal(own, outputs * fan_in + inputs[:, None]):
                raise NotSeparableError("a weight in another arrangement")
            wide = rows if len(kept) == rows.shape[-1] else rows[..., kept]
            columns, outputs, inputs = (index.to(rows.device) for index in (columns, outputs, inputs))
            yield _Use(step, tensor, columns, outputs, inputs, wide, 1)

    def _vector(self, step: Step, code: Tensor, factor: Any, sign: int) -> Iterator[_Use]:
        """``code [M, 1, …, 1, C]``: the same parameters for every row."""
        out = step.outputs[0]
        if (
            out.dim() < 3
            or code.dim() != out.dim()
            or any(size != 1 for size in code.shape[1:-1])
            or code.shape[-1] != out.shape[-1]
        ):
            raise NotSeparableError("parameters that differ by row")
        own = code[0].flatten()
        tensors = self._tensor_of(own)
        for tensor in tensors.unique().tolist():
            if tensor != NONE:
                columns = (tensors == tensor).nonzero().flatten()
                outputs = own[columns] - self._offsets[tensor]
                yield _Use(step, tensor, columns.to(out.device), outputs.to(out.device), None, factor, sign)

    def _tensor_of(self, code: Tensor) -> Tensor:
        found = torch.bucketize(code.long(), self._offsets, right=True) - 1
        return torch.where(code == NONE, NONE, found)

    def _deltas(self, seed: Tensor) -> dict[int, Tensor]:
        """The derivative of Σ seed r with respect to each output that parameters enter, by its id, ``[M, rows, C]``."""
        total = (self._value * seed.to(self._value.dtype)).sum()
        found = torch.autograd.grad(total, list(self._outputs.values()), retain_graph=True, materialize_grads=True)
        return {name: one.flatten(1, -2) for name, one in zip(self._outputs, found, strict=True)}

    def _places(self) -> dict[int, tuple[list[_Use], Tensor]]:
        """Of each tensor its uses and, by graph, which of their rows are the graph's, ``[G, most]``, padded."""
        graphs = self._graph.unique()
        if len(graphs) > _EXPONENTS:
            raise NotSeparableError(f"more than {_EXPONENTS} graphs")
        generator = torch.Generator().manual_seed(0)
        weights = (torch.rand(len(self._graph), generator=generator) + 0.5).to(self._graph.device)
        number = torch.bucketize(self._graph, graphs)
        plain, marked = self._deltas(weights), self._deltas(weights * torch.exp2(number - _EXPONENTS // 2))
        labels = {name: _labels(delta, marked[name], len(graphs)) for name, delta in plain.items()}
        grouped: dict[int, list[_Use]] = {}
        for use in self._uses:
            grouped.setdefault(use.tensor, []).append(use)
        found = {}
        for tensor, uses in grouped.items():
            if len({use.inputs is None for use in uses}) > 1:
                raise NotSeparableError("a weight that is used in two ways")
            found[tensor] = uses, _padded(torch.cat([labels[id(use.step.outputs[0])] for use in uses]), len(graphs))
        return found

    def _square(self, tensor: int, uses: list[_Use], places: Tensor, deltas: dict[int, Tensor]) -> Tensor:
        """``[M]`` Σ_g ‖Σ x ⊗ δ‖² of one tensor."""
        fan_out, fan_in = self._sizes[tensor] if uses[0].inputs is not None else (math.prod(self._sizes[tensor]), 1)
        xs, ds = [], []
        for use in uses:
            out = use.step.outputs[0]
            delta = deltas[id(out)]
            if use.inputs is None:
                if isinstance(use.rows, Tensor):
                    delta = delta * use.rows.expand(out.shape).flatten(1, -2)
                elif use.rows is not None:
                    delta = delta * use.rows
                x = delta.new_ones(*delta.shape[:2], 1)
            else:
                x = _spread(use.rows.expand(len(delta), -1, -1), use.inputs, fan_in)
            xs.append(x)
            ds.append(_spread(use.sign * delta[..., use.columns], use.outputs, fan_out))
        x, d = (_by_graph(torch.cat(parts, dim=1), places) for parts in (xs, ds))
        most = places.shape[1]
        if most * (fan_in + fan_out) < fan_in * fan_out:
            terms = product(x, x.mT.contiguous()) * product(d, d.mT.contiguous())
        else:
            terms = product(x.mT.contiguous(), d).square()
        return terms.double().flatten(1).sum(1)


_CONSTANT = torch.full((1,), NONE)

_EXPONENTS = 64
"""Marks are powers of two, half of them below 1; they round nothing unless something leaves the range of floats."""

_PAD = "constant_pad_nd.default"
_ARRANGING = SHAPES - {"gather.default", "index_select.default", "take.default"} | {_PAD}
"""What may be done to parameters before they are used; not by the numbers in another tensor."""

_ARGUMENTS = {"bmm": 2, "baddbmm": 3, "mul": 2, "add": 2, "sub": 2, "addcmul": 3}


def _factor(name: str, place: int, args: Sequence[Any]) -> Any:
    """What the parameters at this place are multiplied by; None for 1."""
    if name == "mul":
        return args[1 - place]
    return args[3 - place] if name == "addcmul" and place else None


def _labels(plain: Tensor, marked: Tensor, count: int) -> Tensor:
    """``[rows]`` the graph of each, of ``count``; −1 where no residual depends on it."""
    ordinary = plain.abs() < torch.finfo(plain.dtype).max * 2.0**-_EXPONENTS
    plain, marked = (torch.where(ordinary, values, 0.0) for values in (plain, marked))
    weight, other = plain.abs().double().sum(-1), marked.abs().double().sum(-1)
    smallest = torch.finfo(plain.dtype).tiny * 2.0 ** (_EXPONENTS // 2)  # below it even powers of two round
    ratio = torch.where(weight > smallest, other / weight, 0.0).amax(0)
    exponents = torch.where(ratio > 0, ratio.log2().round(), 0.0)
    expected = plain * torch.exp2(exponents)[:, None].to(plain.dtype)
    labels = torch.where(ratio > 0, exponents + _EXPONENTS // 2, -1).long()
    if ((expected != marked) & (plain.abs() > smallest)).any() or labels.max() >= count:
        raise NotSeparableError("graphs couple")
    return labels


def _padded(labels: Tensor, count: int) -> Tensor:
    """``[G, most]`` row numbers by label, with one more than the last for nothing."""
    order = labels.argsort(stable=True)
    order = order[labels[order] >= 0]
    sizes = torch.bincount(labels[order], minlength=count)
    first = sizes.cumsum(0) - sizes
    found = torch.full((count, max(int(sizes.max()), 1)), len(labels), device=labels.device)
    found[labels[order], torch.arange(len(order), device=labels.device) - first[labels[order]]] = order
    return found


def _by_graph(rows: Tensor, places: Tensor) -> Tensor:
    """``[M, R, F]`` to ``[M, G, most, F]``."""
    padded = torch.nn.functional.pad(rows, (0, 0, 0, 1))
    return padded.index_select(1, places.flatten()).unflatten(1, places.shape)


def _spread(values: Tensor, to: Tensor, size: int) -> Tensor:
    """``[M, R, K]`` at its places of ``[M, R, size]``, the others 0."""
    if len(to) == size and torch.equal(to, torch.arange(size, device=to.device)):
        return values
    return values.new_zeros(*values.shape[:2], size).index_add(2, to, values)
