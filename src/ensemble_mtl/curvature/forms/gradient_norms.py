"""Σ_g ‖∇r_g‖² over the graphs of a batch, from one backward pass through the whole batch and without any gradient.

Take three graphs of two, one and three atoms, a weight W ``[3, 4]`` and a layer z = x Wᵀ of the six atoms' features
x ``[6, 4]``. The gradient of what the graphs' residuals sum to is Σ_i δ_i ⊗ x_i over the six rows, where δ_i ``[3]``
is the derivative with respect to row z_i, and one backward pass gives all δ. Now a row belongs to one graph:

    row    0  1 | 2 | 3  4  5
    graph  0  0 | 1 | 2  2  2

Hence ∇r_2 = δ_3 ⊗ x_3 + δ_4 ⊗ x_4 + δ_5 ⊗ x_5, and its squared norm is Σ (x_i·x_j)(δ_i·δ_j) over the nine pairs of
rows 3 to 5: two matrices of 3 × 3, while the twelve numbers of the gradient itself are never written. Where a graph
has many rows and the weight is small, the gradient is quicker.

Which graph a row belongs to is told by the batch, and checked: residuals of graph g are multiplied by a power of two
of its own, which must multiply every δ of its rows. It does not where graphs couple, as through batch statistics.
Source: Goodfellow 2015 (arXiv:1510.01799), here with many rows per example and weights that are used repeatedly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ensemble_mtl.core.runtime.rounding import product
from ensemble_mtl.curvature.forms.rules import SHAPES
from ensemble_mtl.curvature.forms.tape import Step, Tape

NONE = -1
"""In place of a parameter's number: a constant."""


class NotSeparableError(Exception):
    """The gradients of single graphs cannot be told from a pass through all of them."""


class _Arranged(NamedTuple):
    """A tensor that consists of parameters, moved and multiplied by constants.

    Attributes:
        numbers: the number of the parameter in each place; NONE for a constant.
        factor: what each is multiplied by, of the same shape; None for 1.
    """

    numbers: Tensor
    factor: Tensor | None


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


class GradientNorms:
    """The squared norms, for one function at one point.

    Args:
        tape: θ ``[M, P]`` to residuals ``[M, R]``; its values are forgotten.
        shapes: of the tensors that θ consists of, ``[out, in]`` or ``[size]``, in their order.
        graph: ``[R]`` each residual's graph.
        possible_graphs_of_rows: a layer's number of rows to what the graph of each row may be, ``[rows]`` each.

    Raises:
        NotSeparableError: an operation on parameters is not known here, or graphs couple.
    """

    def __init__(
        self,
        tape: Tape,
        shapes: Sequence[tuple[int, ...]],
        graph: Tensor,
        possible_graphs_of_rows: Callable[[int], Sequence[Tensor]],
    ) -> None:
        self._tape, self._graph, self._possible_graphs_of_rows = tape, graph, cache(possible_graphs_of_rows)
        self._sizes = [(shape[0], shape[1]) if len(shape) == 2 else (math.prod(shape), 1) for shape in shapes]
        self._offsets = torch.tensor([0] + [out * fan_in for out, fan_in in self._sizes], device=graph.device).cumsum(0)
        arranged = self._arranged()
        self._uses = [use for step in tape.steps for use in self._uses_of(step, arranged)]
        outputs = {id(use.step.outputs[0]) for use in self._uses}
        tape.forget(())
        read = outputs | {id(use.rows) for use in self._uses}
        self._value, self._values = tape.replay(arranged, read)
        self._outputs = {name: self._values[name] for name in outputs}
        self._rows = self._places()

    def squares(self, seeds: Tensor) -> Tensor:
        """``seeds [S, R]`` to ``[S, M]``: Σ_g ‖∇ Σ_i seed_i r_i‖² over the residuals i of graph g, float64."""
        deltas = [self._deltas(seed) for seed in seeds]
        total = self._value.new_zeros(len(seeds), len(self._value), dtype=torch.float64)
        for tensor, (uses, places) in self._rows.items():
            total += self._squares(tensor, uses, places, deltas)
        return total

    def _arranged(self) -> dict[int, _Arranged]:
        """Tensors that only move parameters or multiply them by constants, by their ids."""
        point = self._tape.point
        numbers = torch.arange(point.shape[1], dtype=torch.int32, device=point.device).expand(point.shape)
        arranged = {id(point): _Arranged(numbers, None)}
        dependent = {id(point)}
        for step in self._tape.steps:
            own = [id(tensor) for tensor in step.inputs if id(tensor) in dependent]
            if all(name in arranged for name in own):
                arranged.update(zip(map(id, step.outputs), _rearranged(step, arranged), strict=False))
            dependent.update(map(id, step.outputs))
        return arranged

    def _uses_of(self, step: Step, arranged: dict[int, _Arranged]) -> Iterator[_Use]:
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

    def _matrix(self, step: Step, arranged: _Arranged, rows: Tensor, known: dict[int, _Arranged]) -> Iterator[_Use]:
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
            yield _Use(step, tensor, columns, outputs, inputs, rows, None if len(kept) == rows.shape[-1] else kept)

    def _vector(self, step: Step, arranged: _Arranged, rows: Any, sign: int) -> Iterator[_Use]:
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
                yield _Use(step, tensor, columns, numbers // fan_in, inputs[:1], rows, sign=sign)
            else:
                yield _Use(step, tensor, columns, numbers, None, rows, None, arranged.factor, sign)

    def _tensor_of(self, numbers: Tensor) -> Tensor:
        found = torch.bucketize(numbers.long(), self._offsets, right=True) - 1
        return torch.where(numbers == NONE, NONE, found)

    def _deltas(self, seed: Tensor) -> dict[int, Tensor]:
        """The derivative of Σ seed r with respect to each output that parameters enter, by its id, ``[M, rows, C]``."""
        total = (self._value * seed.to(self._value.dtype)).sum()
        found = torch.autograd.grad(total, list(self._outputs.values()), retain_graph=True, materialize_grads=True)
        return {name: one.flatten(1, -2) for name, one in zip(self._outputs, found, strict=True)}

    def _places(self) -> dict[int, tuple[list[_Use], Tensor]]:
        """Of each tensor its uses and, by graph, which of their rows are the graph's, ``[G, most]``, padded."""
        num_graphs = int(self._graph.max()) + 1
        if num_graphs > _EXPONENTS:
            raise NotSeparableError(f"more than {_EXPONENTS} graphs")
        generator = torch.Generator().manual_seed(0)
        weights = (torch.rand(len(self._graph), generator=generator) + 0.5).to(self._graph.device)
        marks = torch.exp2(torch.arange(num_graphs, device=self._graph.device) - _EXPONENTS // 2)
        plain, marked = self._deltas(weights), self._deltas(weights * marks[self._graph])
        labels = {name: self._labels(delta, marked[name], marks) for name, delta in plain.items()}
        grouped: dict[int, list[_Use]] = {}
        for use in self._uses:
            grouped.setdefault(use.tensor, []).append(use)
        found = {}
        for tensor, uses in grouped.items():
            if len({use.inputs is None for use in uses}) > 1:
                raise NotSeparableError("a weight that is used in two ways")
            found[tensor] = uses, _padded(torch.cat([labels[id(use.step.outputs[0])] for use in uses]), num_graphs)
        return found

    def _labels(self, plain: Tensor, marked: Tensor, marks: Tensor) -> Tensor:
        """``[rows]`` the graph of each row, as all derivatives have it."""
        for labels in self._possible_graphs_of_rows(plain.shape[1]):
            if _agree(plain, marked, marks[labels].to(plain.dtype)):
                return labels
        raise NotSeparableError("graphs couple")

    def _squares(self, tensor: int, uses: list[_Use], places: Tensor, deltas: list[dict[int, Tensor]]) -> Tensor:
        """``[S, M]`` Σ_g ‖Σ x ⊗ δ‖² of one tensor."""
        fan_out, fan_in = self._sizes[tensor] if uses[0].inputs is not None else (math.prod(self._sizes[tensor]), 1)
        x = _by_graph(torch.cat([self._inputs_of(use, fan_in) for use in uses], dim=1), places)
        of_seeds = [torch.cat([self._deltas_of(use, one, fan_out) for use in uses], dim=1) for one in deltas]
        ds = (_by_graph(d, places) for d in of_seeds)
        most = places.shape[1]
        if most * (fan_in + fan_out) < fan_in * fan_out:
            pairs = product(x, x.mT.contiguous())
            terms = (pairs * product(d, d.mT.contiguous()) for d in ds)
        else:
            columns = x.mT.contiguous()
            terms = (product(columns, d).square() for d in ds)
        return torch.stack([term.double().flatten(1).sum(1) for term in terms])

    def _inputs_of(self, use: _Use, fan_in: int) -> Tensor:
        """``[M, rows, fan_in]`` what the tensor's parameters are multiplied by; 1 where each stands for itself."""
        out = use.step.outputs[0]
        if use.inputs is None:
            return out.new_ones((), dtype=self._value.dtype).expand(len(out), math.prod(out.shape[1:-1]), 1)
        rows = self._values.get(id(use.rows), use.rows).detach().expand(len(out), -1, -1)
        return _spread(rows if use.kept is None else rows[..., use.kept], use.inputs, fan_in)

    def _deltas_of(self, use: _Use, deltas: dict[int, Tensor], fan_out: int) -> Tensor:
        """``[M, rows, fan_out]`` the derivatives with respect to the products."""
        out = use.step.outputs[0]
        delta = deltas[id(out)]
        if use.inputs is None:
            for factor in (self._values.get(id(use.rows), use.rows), use.factor):
                if isinstance(factor, Tensor):
                    delta = delta * factor.detach().expand(out.shape).flatten(1, -2)
                elif factor is not None:
                    delta = delta * factor
        return _spread(use.sign * delta[..., use.columns], use.outputs, fan_out)


def _has_any(arranged: _Arranged) -> bool:
    return bool((arranged.numbers != NONE).any())


def _rearranged(step: Step, known: dict[int, _Arranged]) -> Sequence[_Arranged]:
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
    return [_Arranged(*pair) for pair in zip(moved(number, NONE), factors, strict=True)]


def _multiplied(step: Step, known: dict[int, _Arranged]) -> Sequence[_Arranged]:
    """Of parameters ``[M, P]`` times constants, one for each of them; with an axis of rows, the factors are rows."""
    (out,) = step.outputs
    ours = [arg for arg in step.args if id(arg) in known]
    if len(ours) != 1 or out.dim() != 2 or ours[0].shape != out.shape:
        return ()
    (other,) = (arg for arg in step.args if arg is not ours[0])
    former = known[id(ours[0])]
    factor = (out.new_ones(()) if former.factor is None else former.factor) * other
    return [_Arranged(former.numbers, factor.expand(out.shape))]


_EXPONENTS = 64
"""Marks are powers of two, half of them below 1; they round nothing unless something leaves the range of floats."""

_PAD = "constant_pad_nd.default"
_MOVING = SHAPES - {"gather.default", "index_select.default", "take.default"} | {_PAD}
"""What may be done to parameters before they are used; not by the numbers in another tensor."""

_ARGUMENTS = {"bmm": 2, "baddbmm": 3, "mul": 2, "add": 2, "sub": 2, "addcmul": 3}


def _factor(name: str, place: int, args: Sequence[Any]) -> Any:
    """What the parameters at this place are multiplied by; None for 1."""
    if name == "mul":
        return args[1 - place]
    return args[3 - place] if name == "addcmul" and place else None


def _agree(plain: Tensor, marked: Tensor, marks: Tensor) -> bool:
    """Whether every row of ``marked`` is its graph's mark times that of ``plain``, both ``[M, rows, C]``.

    Sums may be taken in another order in each of the two passes, as on a GPU, so that they need not be equal to the
    last bit. A row may differ by what is small beside it or beside the rows on the average: a coupling that is
    overlooked so makes the norms wrong by such a share at the most.
    """
    dtype = torch.finfo(plain.dtype)
    ordinary = plain.abs() < dtype.max * 2.0**-_EXPONENTS
    plain, marked = (torch.where(ordinary, values, 0.0) for values in (plain, marked))
    size = plain.abs().double().sum(-1)
    difference = (marked / marks[:, None] - plain).abs().double().sum(-1)
    smallest = dtype.tiny * 2.0 ** (_EXPONENTS // 2)  # below it even powers of two round
    allowed = dtype.eps**0.5 * (size + size.mean(1, keepdim=True)) + plain.shape[2] * smallest
    return bool((difference <= allowed).all())


def _padded(labels: Tensor, count: int) -> Tensor:
    """``[G, most]`` row numbers by label, with one more than the last for nothing."""
    order = labels.argsort(stable=True)
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
