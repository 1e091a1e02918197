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
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from ensemble_mtl.core.runtime.rounding import product
from ensemble_mtl.curvature.forms.parameter_uses import NotSeparableError, ParameterUses, Use
from ensemble_mtl.curvature.forms.tape import Tape

__all__ = ["GradientNorms", "NotSeparableError"]


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
        self._tape = tape  # which holds the tensors whose ids are names below
        self._graph, self._possible_graphs_of_rows = graph, cache(possible_graphs_of_rows)
        self._sizes = [(shape[0], shape[1]) if len(shape) == 2 else (math.prod(shape), 1) for shape in shapes]
        found = ParameterUses(tape, self._sizes)
        self._uses = found.uses
        outputs = {id(use.step.outputs[0]) for use in self._uses}
        tape.forget(())
        read = outputs | {id(use.rows) for use in self._uses}
        self._value, self._values = tape.replay(found.places, read)
        self._outputs = {name: self._values[name] for name in outputs}
        self._rows = self._places()

    def squares(self, seeds: Tensor) -> Tensor:
        """``seeds [S, R]`` to ``[S, M]``: Σ_g ‖∇ Σ_i seed_i r_i‖² over the residuals i of graph g, float64."""
        deltas = [self._deltas(seed) for seed in seeds]
        total = self._value.new_zeros(len(seeds), len(self._value), dtype=torch.float64)
        for tensor, (uses, places) in self._rows.items():
            total += self._squares(tensor, uses, places, deltas)
        return total

    def _deltas(self, seed: Tensor) -> dict[int, Tensor]:
        """The derivative of Σ seed r with respect to each output that parameters enter, by its id, ``[M, rows, C]``."""
        total = (self._value * seed.to(self._value.dtype)).sum()
        found = torch.autograd.grad(total, list(self._outputs.values()), retain_graph=True, materialize_grads=True)
        return {name: one.flatten(1, -2) for name, one in zip(self._outputs, found, strict=True)}

    def _places(self) -> dict[int, tuple[list[Use], Tensor]]:
        """Of each tensor its uses and, by graph, which of their rows are the graph's, ``[G, most]``, padded."""
        num_graphs = int(self._graph.max()) + 1
        if num_graphs > _EXPONENTS:
            raise NotSeparableError(f"more than {_EXPONENTS} graphs")
        generator = torch.Generator().manual_seed(0)
        weights = (torch.rand(len(self._graph), generator=generator) + 0.5).to(self._graph.device)
        marks = torch.exp2(torch.arange(num_graphs, device=self._graph.device) - _EXPONENTS // 2)
        plain, marked = self._deltas(weights), self._deltas(weights * marks[self._graph])
        labels = {name: self._labels(delta, marked[name], marks) for name, delta in plain.items()}
        grouped: dict[int, list[Use]] = {}
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

    def _squares(self, tensor: int, uses: list[Use], places: Tensor, deltas: list[dict[int, Tensor]]) -> Tensor:
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

    def _inputs_of(self, use: Use, fan_in: int) -> Tensor:
        """``[M, rows, fan_in]`` what the tensor's parameters are multiplied by; 1 where each stands for itself."""
        out = use.step.outputs[0]
        if use.inputs is None:
            return out.new_ones((), dtype=self._value.dtype).expand(len(out), math.prod(out.shape[1:-1]), 1)
        rows = self._values.get(id(use.rows), use.rows).detach().expand(len(out), -1, -1)
        return _spread(rows if use.kept is None else rows[..., use.kept], use.inputs, fan_in)

    def _deltas_of(self, use: Use, deltas: dict[int, Tensor], fan_out: int) -> Tensor:
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


_EXPONENTS = 64
"""Marks are powers of two, half of them below 1; they round nothing unless something leaves the range of floats."""


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
