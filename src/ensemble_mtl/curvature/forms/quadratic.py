"""Quadratic forms vᵀHv of the Hessians of all tasks at once, and of the Gauss-Newton parts of these Hessians."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ensemble_mtl.curvature.forms.gradient_norms import GradientNorms, NotSeparableError
from ensemble_mtl.curvature.forms.jets import SecondDerivative
from ensemble_mtl.curvature.forms.rules import NoRuleError
from ensemble_mtl.curvature.forms.tape import Tape
from ensemble_mtl.curvature.operator import Operator

COST_OF_START, COST_OF_PASS = 4.0, 1.3
"""Time that the norms of all graphs' gradients take, in quadratic forms of all tasks: before the first task, and for
every backward pass. It was measured on the networks of New 2022 and Lupo Pasini 2022 with one and four members and 64
graphs."""
COST_OF_GRADIENT = 0.25
"""Time that the gradient of a single graph takes, in the same unit and measured on the same networks."""


@dataclass(frozen=True)
class Residuals:
    """Residuals r(θ) of some graphs; the sum of r² over a task's residuals is the task's loss, or a part of it.

    Attributes:
        function: θ ``[M, P]`` to r ``[M, R]``.
        task: ``[R]`` number of each residual's task.
        graph: ``[R]`` number of each residual's graph, from 0.
        signs: ``[S, R]`` 1 or −1, in S random draws.
        shapes: shapes of the tensors of which θ consists, in their order.
        separate_function: the same function, computed so that each row of every layer belongs to a single graph.
        possible_graphs_of_rows: see :meth:`ensemble_mtl.data.batch.GraphBatch.possible_graphs_of_rows`.
    """

    function: Callable[[Tensor], Tensor]
    task: Tensor
    graph: Tensor
    signs: Tensor
    shapes: Sequence[tuple[int, ...]]
    separate_function: Callable[[Tensor], Tensor]
    possible_graphs_of_rows: Callable[[int], Sequence[Tensor]]

    def signs_of_task(self, task: int) -> Tensor:
        """``[1 to S, R]`` the draws of signs, with 0 at other tasks' residuals; a single one if all draws are equal.

        They are equal where each graph has a single label of the task.
        """
        signs = self.signs * (self.task == task)
        return signs[:1] if torch.equal(signs, signs[:1].expand_as(signs)) else signs

    def gradient_norms(self, parameters: Tensor) -> GradientNorms:
        """The squared norms of single graphs' gradients at ``parameters [M, P]``.

        Raises:
            NotSeparableError: a pass through all graphs does not give them.
        """
        tape = Tape(self.separate_function, parameters)
        return GradientNorms(tape, self.shapes, self.graph, self.possible_graphs_of_rows)


class Forms(Protocol):
    """Quadratic forms of T tasks and M members, and a part C of each Hessian whose trace may be computed exactly.

    C = 2 Σ_g c_g c_gᵀ with c_g = Σ_i s_i ∇r_i, the sum over the residuals i of graph g, with signs s. For a task with
    one label per graph this is the Gauss-Newton part of H. For a task with several, C is averaged over draws of the
    signs; it differs from the Gauss-Newton part by products of the gradients of different labels.
    """

    def quadratic_forms(self, v: Tensor) -> Tensor:
        """``v [1 or M, P]`` to vᵀHv ``[T, M]``, float64."""

    def with_gauss_newton(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """``v [1 or M, P]`` to vᵀHv and vᵀCv, each ``[T, M]``, float64."""

    def gauss_newton_cost(self, budget: float = math.inf) -> float:
        """Time that :meth:`gauss_newton_trace` takes, in quadratic forms of all tasks; infinite where C is taken as 0.

        To know it exactly may take much memory and time. A caller who will not spend ``budget`` anyway passes it: a
        result of at least ``budget`` may then be any number that is not below it.
        """

    def gauss_newton_trace(self) -> Tensor:
        """``[T, M]`` tr C, float64, exact."""


class ProductForms:
    """Quadratic forms by one Hessian-vector product per task; C is taken as 0.

    Args:
        operators: the Hessians of T tasks, all of one shape.
    """

    def __init__(self, operators: Sequence[Operator]) -> None:
        self._operators = operators

    def quadratic_forms(self, v: Tensor) -> Tensor:
        """See :class:`Forms`."""
        v = v.expand(self._operators[0].shape)
        return torch.stack([(v.double() * operator.matvec(v).double()).sum(1) for operator in self._operators])

    def with_gauss_newton(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Forms`."""
        forms = self.quadratic_forms(v)
        return forms, torch.zeros_like(forms)

    def gauss_newton_cost(self, budget: float = math.inf) -> float:
        """See :class:`Forms`."""
        return math.inf

    def gauss_newton_trace(self) -> Tensor:
        """See :class:`Forms`."""
        return torch.zeros(len(self._operators), self._operators[0].shape[0], dtype=torch.float64)


class JetForms:
    """Quadratic forms by second-order forward derivatives, in one pass for all tasks.

    The loss of a task is Σ r². Along v it has the second derivative vᵀHv = 2 Σ (ṙ² + r r̈), where ṙ = ∇r·v and
    r̈ = vᵀ∇²r v. The same pass gives vᵀCv = 2 Σ_g (Σ_i s_i ṙ_i)².

    Args:
        chunks: the residuals of the probe set, in chunks of graphs; the chunks' losses add up.
        num_tasks: T.
        parameters: ``[M, P]`` point at which the Hessians are taken.
        single_graphs: gives the residuals of one graph after another.

    Raises:
        NoRuleError: an operation on the way to the residuals has no rule.
    """

    def __init__(
        self,
        chunks: Sequence[Residuals],
        num_tasks: int,
        parameters: Tensor,
        single_graphs: Callable[[], Iterable[Residuals]],
    ) -> None:
        self._parameters, self._num_tasks, self._single_graphs = parameters, num_tasks, single_graphs
        self._chunks = [(chunk, SecondDerivative(chunk.function, parameters)) for chunk in chunks]
        self._norms: list[GradientNorms] | None = None

    def quadratic_forms(self, v: Tensor) -> Tensor:
        """See :class:`Forms`."""
        return self._forms(v, None)

    def with_gauss_newton(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Forms`."""
        gauss_newton = self._zeros()
        return self._forms(v, gauss_newton), gauss_newton.mT

    def gauss_newton_cost(self, budget: float = math.inf) -> float:
        """See :class:`Forms`."""
        num_passes = max(
            sum(len(chunk.signs_of_task(task)) for task in chunk.task.unique().tolist()) for chunk, _ in self._chunks
        )
        all_at_once = COST_OF_START + COST_OF_PASS * num_passes
        num_graphs = sum(len(chunk.graph.unique()) for chunk, _ in self._chunks)
        graph_by_graph = COST_OF_GRADIENT * num_passes * num_graphs
        if min(all_at_once, graph_by_graph) >= budget:  # which of both it is need not be tried
            return min(all_at_once, graph_by_graph)
        return all_at_once if self._gradient_norms() else graph_by_graph

    def gauss_newton_trace(self) -> Tensor:
        """See :class:`Forms`.

        It takes a backward pass per task and draw where that gives the gradients of single graphs, and else a backward
        pass per graph, task and draw.
        """
        norms, self._norms = self._gradient_norms(), None  # they hold much memory
        if not norms:
            return self._trace_graph_by_graph()
        trace = self._zeros()
        for (chunk, _), norms_of_chunk in zip(self._chunks, norms, strict=True):
            for task in chunk.task.unique().tolist():
                trace[:, task] += 2 * norms_of_chunk.sum_of_squared_norms(chunk.signs_of_task(task)).mean(0)
        return trace.mT

    def _gradient_norms(self) -> list[GradientNorms]:
        """The norms of each chunk; an empty list where a pass through all graphs does not give them."""
        if self._norms is None:
            try:
                self._norms = [chunk.gradient_norms(self._parameters) for chunk, _ in self._chunks]
            except NotSeparableError:
                self._norms = []
        return self._norms

    def _trace_graph_by_graph(self) -> Tensor:
        """``[T, M]`` tr C = 2 Σ_g ‖c_g‖², from the gradient c_g of each graph, by a backward pass for each."""
        trace = self._zeros()
        point = self._parameters.detach().requires_grad_()
        for graph in self._single_graphs():
            residuals = graph.function(point)
            for task in graph.task.unique().tolist():
                draws = graph.signs_of_task(task)
                for signs in draws:
                    total = (residuals * signs).sum()
                    (gradient,) = torch.autograd.grad(total, point, retain_graph=True, materialize_grads=True)
                    square = torch.linalg.vector_norm(gradient, dim=1, dtype=torch.float64).square()
                    trace[:, task] += 2 * square / len(draws)
        return trace.mT

    def _zeros(self) -> Tensor:
        """``[M, T]`` float64."""
        return self._parameters.new_zeros(len(self._parameters), self._num_tasks, dtype=torch.float64)

    def _forms(self, v: Tensor, gauss_newton: Tensor | None) -> Tensor:
        """``[T, M]`` vᵀHv; vᵀCv is added to ``gauss_newton [M, T]`` if there is one."""
        self._norms = None  # they hold much memory, and nobody has asked for the trace so far
        v = v.expand(self._parameters.shape)
        total = self._zeros()
        for chunk, derivatives in self._chunks:
            r, r1, r2 = (tensor.double() for tensor in derivatives(v))
            total.index_add_(1, chunk.task, 2 * (r1.square() + r * r2))  # 2 Σ (ṙ² + r r̈) for each task
            if gauss_newton is not None:
                # One group for each graph and task: Σ_i s_i ṙ_i is formed for each before it is squared.
                group = chunk.graph * self._num_tasks + chunk.task
                task_of_group = torch.arange(int(group.max()) + 1, device=v.device) % self._num_tasks
                for signs in chunk.signs:
                    sums = r1.new_zeros(len(r1), len(task_of_group)).index_add_(1, group, r1 * signs)
                    gauss_newton.index_add_(1, task_of_group, 2 * sums.square() / len(chunk.signs))
        return total.mT


def quadratic_forms(
    chunks: Sequence[Residuals],
    num_tasks: int,
    parameters: Tensor,
    single_graphs: Callable[[], Iterable[Residuals]],
    operators: Callable[[], Sequence[Operator]],
) -> JetForms | ProductForms:
    """Quadratic forms by jets if every operation has a rule, and else by products; the model alone decides this.

    Args:
        chunks: the residuals of the probe set, in chunks of graphs; the chunks' losses add up.
        num_tasks: T.
        parameters: ``[M, P]`` point at which the Hessians are taken.
        single_graphs: gives the residuals of one graph after another.
        operators: makes the Hessians of all tasks for :class:`ProductForms`; they hold much memory, so that they are
            made only if they are needed.
    """
    try:
        return JetForms(chunks, num_tasks, parameters, single_graphs)
    except NoRuleError:
        return ProductForms(operators())
