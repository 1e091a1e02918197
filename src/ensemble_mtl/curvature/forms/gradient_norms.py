"""Σ_g ‖∇r_g‖² over the graphs g of a batch, from one backward pass through the whole batch, without any ∇r_g.

This is, up to a factor, the trace of the Gauss-Newton matrix Σ_g ∇r_g ∇r_gᵀ. A backward pass gives the derivative with
respect to *every row of every layer*, and each row belongs to one graph; so it has all that is needed to separate the
graphs afterwards.

**Example.** Three graphs have two, one and three atoms. A layer z = x Wᵀ with W = (1 1) acts on the atoms' features x,
and a graph's residual is half the sum of z² over its atoms:

    row i      0      1   |   2   |   3      4      5
    graph g    0      0   |   1   |   2      2      2
    x_i      (1 0)  (0 1) | (1 1) | (2 0)  (0 1)  (1 1)
    z_i        1      1   |   2   |   2      1      2         r_0 = 1, r_1 = 2, r_2 = 4.5

*Step 1: one backward pass* of r_0 + r_1 + r_2 gives δ_i, the derivative with respect to z_i, here z_i itself.

*Step 2: to which graph does a row belong?* The batch lists what is possible for a layer of so many rows. A second
backward pass checks it, for which each graph's residuals are multiplied by a power of two of its own (here 1, 2 and 4).
Where row i enters r_g and no other residual, its derivative is multiplied by exactly this power, without rounding:

    first pass    δ_i       1      1   |   2   |   2      1      2
    second pass   δ'_i      1      1   |   4   |   8      4      8
    ratio         δ'_i/δ_i  1      1   |   2   |   4      4      4      = 2^g

If row 3 entered r_0 too, say with the derivative 1, it would have δ_3 = 2 + 1 and δ'_3 = 4·2 + 1·1: the ratio is 3 and
not 4. Such graphs are coupled, as by statistics over the batch, and the calculation is refused.

*Step 3: the norms.* ∇r_2 with respect to W is Σ δ_i x_i = 2·(2 0) + 1·(0 1) + 2·(1 1) = (6 3), with the square 45.
It is also Σ_ij (x_i·x_j)(δ_i·δ_j), the sum of the elementwise product of two Gram matrices of rows 3 to 5:

    x_i·x_j   4 0 2      δ_i·δ_j   4 2 4
              0 1 1                2 1 2      16 + 0 + 8 + 0 + 1 + 2 + 8 + 2 + 8 = 45
              2 1 2                4 2 4

The three graphs give 2 + 8 + 45 = 55. For a weight ``[out, in]`` and a graph of n rows, the Gram matrices are n × n,
and the gradient is out × in: whichever is cheaper is used. So that all graphs are done in one product, their row
numbers are put into one table, filled up with the number of a row of zeros (here 6): (0 1 6), (2 6 6), (3 4 5).

Source: Goodfellow 2015 (arXiv:1510.01799), here with several rows per example and weights that are used repeatedly.
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

MAX_GRAPHS = 64
"""The largest number of graphs. Each has its own power of two, from 2⁻³² to 2³¹; a product with one of these is not
rounded, unless it leaves the range of floats."""


class GradientNorms:
    """Sums over graphs of the squared norms of their residuals' gradients, for one function at one point.

    Args:
        tape: the tape of a function from θ ``[M, P]`` to residuals ``[M, R]``. The values on it are freed here.
        shapes: shapes of the tensors of which θ consists, ``[out, in]`` or ``[size]``, in their order.
        graph: ``[R]`` the graph of each residual.
        possible_graphs_of_rows: a function from the number of rows of a layer to the candidates for each row's graph,
            ``[rows]`` each.

    Raises:
        NotSeparableError: an operation on parameters is not known, or graphs are coupled.
    """

    def __init__(
        self,
        tape: Tape,
        shapes: Sequence[tuple[int, ...]],
        graph: Tensor,
        possible_graphs_of_rows: Callable[[int], Sequence[Tensor]],
    ) -> None:
        self._tape = tape  # holds the tensors whose ids are keys below
        self._graph, self._possible_graphs_of_rows = graph, cache(possible_graphs_of_rows)
        self._sizes = [(shape[0], shape[1]) if len(shape) == 2 else (math.prod(shape), 1) for shape in shapes]
        parameters = ParameterUses(tape, self._sizes)
        self._uses = parameters.uses
        outputs = {id(use.step.outputs[0]) for use in self._uses}
        tape.forget(())
        needed = outputs | {id(use.inputs) for use in self._uses}
        self._residuals, self._values = tape.replay(parameters.tensors, needed)
        self._outputs = {key: self._values[key] for key in outputs}
        self._row_tables = self._make_row_tables()

    def sum_of_squared_norms(self, coefficients: Tensor) -> Tensor:
        """Σ_g ‖∇ Σ_i c_i r_i‖², where i goes over the residuals of graph g, for S sets of coefficients c.

        Args:
            coefficients: ``[S, R]`` c.

        Returns:
            ``[S, M]`` float64.
        """
        deltas = [self._deltas(row) for row in coefficients]
        total = self._residuals.new_zeros(len(coefficients), len(self._residuals), dtype=torch.float64)
        for weight, (uses, row_table) in self._row_tables.items():
            total += self._sum_for_weight(weight, uses, row_table, deltas)
        return total

    def _deltas(self, coefficients: Tensor) -> dict[int, Tensor]:
        """δ = ∂(Σ c r)/∂z ``[M, rows, C]`` for the output z of each operation with parameters, by the output's id."""
        total = (self._residuals * coefficients.to(self._residuals.dtype)).sum()
        deltas = torch.autograd.grad(total, list(self._outputs.values()), retain_graph=True, materialize_grads=True)
        return {key: delta.flatten(1, -2) for key, delta in zip(self._outputs, deltas, strict=True)}

    def _make_row_tables(self) -> dict[int, tuple[list[Use], Tensor]]:
        """For each weight, its uses, and the row numbers of each graph ``[G, n]`` in all of its uses together.

        The rows of all uses of a weight are numbered one use after the other.
        """
        num_graphs = int(self._graph.max()) + 1
        if num_graphs > MAX_GRAPHS:
            raise NotSeparableError(f"more than {MAX_GRAPHS} graphs")
        # With random coefficients, what several residuals contribute to a row's derivative does not cancel by symmetry.
        generator = torch.Generator().manual_seed(0)
        coefficients = (torch.rand(len(self._graph), generator=generator) + 0.5).to(self._graph.device)
        powers = torch.exp2(torch.arange(num_graphs, device=self._graph.device) - MAX_GRAPHS // 2)
        first, second = self._deltas(coefficients), self._deltas(coefficients * powers[self._graph])
        graph_of_rows = {key: self._graph_of_rows(delta, second[key], powers) for key, delta in first.items()}
        uses_by_weight: dict[int, list[Use]] = {}
        for use in self._uses:
            uses_by_weight.setdefault(use.weight, []).append(use)
        row_tables = {}
        for weight, uses in uses_by_weight.items():
            if len({use.weight_columns is None for use in uses}) > 1:
                raise NotSeparableError("a weight that is used in two ways")
            graphs = torch.cat([graph_of_rows[id(use.step.outputs[0])] for use in uses])
            row_tables[weight] = uses, _row_table(graphs, num_graphs)
        return row_tables

    def _graph_of_rows(self, first: Tensor, second: Tensor, powers: Tensor) -> Tensor:
        """``[rows]`` the graph of each row of one layer: the candidate with which both passes agree."""
        for graphs in self._possible_graphs_of_rows(first.shape[1]):
            if _is_multiple(first, second, powers[graphs].to(first.dtype)):
                return graphs
        raise NotSeparableError("graphs couple")

    def _sum_for_weight(
        self, weight: int, uses: list[Use], row_table: Tensor, deltas: list[dict[int, Tensor]]
    ) -> Tensor:
        """``[S, M]`` the part of one weight in Σ_g ‖∇ Σ_i c_i r_i‖², which is Σ_g ‖Σ_i δ_i ⊗ x_i‖² over rows i."""
        if uses[0].weight_columns is not None:
            fan_out, fan_in = self._sizes[weight]
        else:
            fan_out, fan_in = math.prod(self._sizes[weight]), 1
        x = _gather_rows(torch.cat([self._inputs_of(use, fan_in) for use in uses], dim=1), row_table)
        # For each of the S sums, δ of all uses one below the other, [M, rows, out]
        all_ds = [torch.cat([self._deltas_of(use, delta, fan_out) for use in uses], dim=1) for delta in deltas]
        ds = (_gather_rows(d, row_table) for d in all_ds)
        rows_per_graph = row_table.shape[1]
        if rows_per_graph * (fan_in + fan_out) < fan_in * fan_out:
            gram = product(x, x.mT.contiguous())  # Σ_ij (x_i·x_j)(δ_i·δ_j) from Gram matrices [M, G, n, n]
            terms = (gram * product(d, d.mT.contiguous()) for d in ds)
        else:
            transposed = x.mT.contiguous()  # the gradient xᵀδ itself, [M, G, in, out], and its square
            terms = (product(transposed, d).square() for d in ds)
        return torch.stack([term.double().flatten(1).sum(1) for term in terms])

    def _inputs_of(self, use: Use, fan_in: int) -> Tensor:
        """``[M, rows, fan_in]`` x, by which the columns of the weight are multiplied; 1 for z = x ⊙ w and z = w.

        There the factor x is part of the derivatives (:meth:`_deltas_of`).
        """
        out = use.step.outputs[0]
        if use.weight_columns is None:
            return out.new_ones((), dtype=self._residuals.dtype).expand(len(out), math.prod(out.shape[1:-1]), 1)
        x = self._values.get(id(use.inputs), use.inputs).detach().expand(len(out), -1, -1)
        x = x if use.input_columns is None else x[..., use.input_columns]
        return _spread_columns(x, use.weight_columns, fan_in)

    def _deltas_of(self, use: Use, deltas: dict[int, Tensor], fan_out: int) -> Tensor:
        """``[M, rows, fan_out]`` the derivatives with respect to what each row of the weight makes."""
        out = use.step.outputs[0]
        delta = deltas[id(out)]
        if use.weight_columns is None:  # z = x ⊙ w: the derivative with respect to w is δ ⊙ x
            for factor in (self._values.get(id(use.inputs), use.inputs), use.factor):
                if isinstance(factor, Tensor):
                    delta = delta * factor.detach().expand(out.shape).flatten(1, -2)
                elif factor is not None:
                    delta = delta * factor
        return _spread_columns(use.sign * delta[..., use.output_columns], use.weight_rows, fan_out)


def _is_multiple(first: Tensor, second: Tensor, powers: Tensor) -> bool:
    """Whether every row of ``second`` is that of ``first`` times its power ``[rows]``, for both ``[M, rows, C]``.

    Sums may be taken in another order in each of the two passes, as on a GPU, so that the last bits may differ. A row
    may differ by √ε of its own size, or of the mean size of the rows: a coupling that is overlooked for this makes the
    norms wrong by about such a share at the most.
    """
    dtype = torch.finfo(first.dtype)
    # Values that a power could bring out of the range of floats, NaN and infinities say nothing of a coupling.
    in_range = first.abs() < dtype.max * 2.0**-MAX_GRAPHS
    first, second = (torch.where(in_range, values, 0.0) for values in (first, second))
    size = first.abs().double().sum(-1)
    difference = (second / powers[:, None] - first).abs().double().sum(-1)
    smallest = dtype.tiny * 2.0 ** (MAX_GRAPHS // 2)  # below it even powers of two round
    allowed = dtype.eps**0.5 * (size + size.mean(1, keepdim=True)) + first.shape[2] * smallest
    return bool((difference <= allowed).all())


def _row_table(graphs: Tensor, num_graphs: int) -> Tensor:
    """``[G, n]`` the row numbers of each graph, from the graph of each row ``[rows]``.

    n is the largest number of rows of a graph; graphs with fewer are filled up with the number ``rows``, one more than
    the last row has.
    """
    order = graphs.argsort(stable=True)
    counts = torch.bincount(graphs[order], minlength=num_graphs)
    first = counts.cumsum(0) - counts
    table = torch.full((num_graphs, max(int(counts.max()), 1)), len(graphs), device=graphs.device)
    table[graphs[order], torch.arange(len(order), device=graphs.device) - first[graphs[order]]] = order
    return table


def _gather_rows(values: Tensor, row_table: Tensor) -> Tensor:
    """``[M, G, n, F]`` the rows of each graph, from ``[M, rows, F]``; 0 where a graph has fewer than n."""
    padded = torch.nn.functional.pad(values, (0, 0, 0, 1))
    return padded.index_select(1, row_table.flatten()).unflatten(1, row_table.shape)


def _spread_columns(values: Tensor, places: Tensor, size: int) -> Tensor:
    """``[M, rows, size]`` with column k of ``values [M, rows, K]`` at the place ``places[k]``, and 0 elsewhere."""
    if len(places) == size and torch.equal(places, torch.arange(size, device=places.device)):
        return values
    return values.new_zeros(*values.shape[:2], size).index_add(2, places, values)
