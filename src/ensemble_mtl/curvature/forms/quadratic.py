"""Quadratic forms vᵀHv of every task at once."""

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
"""Of the squared norms of all gradients, in quadratic forms of all tasks: before the first task, and of every backward
pass. Measured on the networks of New 2022 and Lupo Pasini 2022 with one and four members and 64 graphs."""
COST_OF_ONE = 0.25
"""Of the gradient of one graph, likewise."""


@dataclass(frozen=True)
class Residuals:
    """r(θ) of some graphs, such that the loss of task t is the sum of r² over its residuals, or a part of it.

    Attributes:
        function: θ ``[M, P]`` to r ``[M, R]``.
        task: ``[R]`` number of each residual's task.
        graph: ``[R]`` number of its graph, from 0.
        signs: ``[S, R]`` 1 or −1, in S draws.
        shapes: of the tensors that θ consists of, in their order.
        apart: the same function, computed so that each row of every layer belongs to a single graph.
        possible_graphs_of_rows: see :meth:`ensemble_mtl.data.batch.GraphBatch.possible_graphs_of_rows`.
    """

    function: Callable[[Tensor], Tensor]
    task: Tensor
    graph: Tensor
    signs: Tensor
    shapes: Sequence[tuple[int, ...]]
    apart: Callable[[Tensor], Tensor]
    possible_graphs_of_rows: Callable[[int], Sequence[Tensor]]

    def draws(self, task: int) -> Tensor:
        """``[1 to S, R]`` the draws of signs that differ for the task, 0 at other tasks' residuals."""
        own = self.signs * (self.task == task)
        return own[:1] if torch.equal(own, own[:1].expand_as(own)) else own

    def gradient_norms(self, parameters: Tensor) -> GradientNorms:
        """The squared norms of single graphs' gradients at ``parameters [M, P]``.

        Raises:
            NotSeparableError: they cannot be told from a pass through all graphs.
        """
        return GradientNorms(Tape(self.apart, parameters), self.shapes, self.graph, self.possible_graphs_of_rows)


class Forms(Protocol):
    """vᵀHv of T tasks and M members, with what is known of them beforehand."""

    def quadratic_forms(self, v: Tensor) -> Tensor:
        """``v [1 or M, P]`` to vᵀHv ``[T, M]``, float64."""

    def with_gauss_newton(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """vᵀHv and vᵀCv, each ``[T, M]``, float64, with C = 2 Σ_g c_g c_gᵀ, c_g = Σ_i s_i ∇r_i over graph g.

        For a task with one label per graph this is the Gauss-Newton part of H. For one with several, C is the mean over
        draws of the signs s, which differs from that part by the products of different labels' gradients.
        """

    def gauss_newton_cost(self, worth: float = math.inf) -> float:
        """Of its trace, in quadratic forms of all tasks; infinite where C is not known, and 0.

        If it is not below what it is ``worth``, any number that is not.
        """

    def gauss_newton_trace(self) -> Tensor:
        """``[T, M]`` tr C, exact."""


class ProductForms:
    """By one product per task.

    Args:
        operators: of T tasks, all of one shape.
    """

    def __init__(self, operators: Sequence[Operator]) -> None:
        self._operators = operators

    def quadratic_forms(self, v: Tensor) -> Tensor:
        """See :class:`Forms`."""
        v = v.expand(self._operators[0].shape)
        return torch.stack([(v.double() * one.matvec(v).double()).sum(1) for one in self._operators])

    def with_gauss_newton(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Forms`."""
        found = self.quadratic_forms(v)
        return found, torch.zeros_like(found)

    def gauss_newton_cost(self, worth: float = math.inf) -> float:
        """See :class:`Forms`."""
        return math.inf

    def gauss_newton_trace(self) -> Tensor:
        """See :class:`Forms`."""
        return torch.zeros(len(self._operators), self._operators[0].shape[0], dtype=torch.float64)


class JetForms:
    """By second-order forward derivatives, one pass for all tasks.

    The loss is Σ r², so that vᵀHv = 2 Σ (ṙ² + r r̈) along v, and the same pass gives vᵀCv.

    Args:
        chunks: the residuals of the probe set; their losses sum.
        num_tasks: T.
        parameters: ``[M, P]`` point at which the Hessians are taken.
        singles: the residuals of one graph after another.

    Raises:
        NoRuleError: an operation on the way to the residuals has no rule.
    """

    def __init__(
        self,
        chunks: Sequence[Residuals],
        num_tasks: int,
        parameters: Tensor,
        singles: Callable[[], Iterable[Residuals]],
    ) -> None:
        self._parameters, self._num_tasks, self._singles = parameters, num_tasks, singles
        self._chunks = [(one, SecondDerivative(one.function, parameters)) for one in chunks]
        self._norms: list[GradientNorms] | None = None

    def quadratic_forms(self, v: Tensor) -> Tensor:
        """See :class:`Forms`."""
        return self._forms(v, None)

    def with_gauss_newton(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Forms`."""
        control = self._nothing()
        return self._forms(v, control), control.mT

    def gauss_newton_cost(self, worth: float = math.inf) -> float:
        """See :class:`Forms`."""
        passes = max(sum(len(one.draws(task)) for task in one.task.unique().tolist()) for one, _ in self._chunks)
        at_once = COST_OF_START + COST_OF_PASS * passes
        one_by_one = COST_OF_ONE * passes * sum(len(one.graph.unique()) for one, _ in self._chunks)
        if min(at_once, one_by_one) >= worth:  # what it is would have to be found out
            return min(at_once, one_by_one)
        return at_once if self._gradient_norms() else one_by_one

    def gauss_newton_trace(self) -> Tensor:
        """See :class:`Forms`; a backward pass per task and draw where it tells graphs apart, else one per graph too."""
        norms, self._norms = self._gradient_norms(), None  # which hold much memory
        if not norms:
            return self._norms_one_by_one()
        found = self._nothing()
        for (one, _), of_chunk in zip(self._chunks, norms, strict=True):
            for task in one.task.unique().tolist():
                found[:, task] += 2 * of_chunk.squares(one.draws(task)).mean(0)
        return found.mT

    def _gradient_norms(self) -> list[GradientNorms]:
        """Of each chunk; none where that cannot be."""
        if self._norms is None:
            try:
                self._norms = [one.gradient_norms(self._parameters) for one, _ in self._chunks]
            except NotSeparableError:
                self._norms = []
        return self._norms

    def _norms_one_by_one(self) -> Tensor:
        found = self._nothing()
        point = self._parameters.detach().requires_grad_()
        for one in self._singles():
            residuals = one.function(point)
            for task in one.task.unique().tolist():
                draws = one.draws(task)
                for signs in draws:
                    total = (residuals * signs).sum()
                    (gradient,) = torch.autograd.grad(total, point, retain_graph=True, materialize_grads=True)
                    square = torch.linalg.vector_norm(gradient, dim=1, dtype=torch.float64).square()
                    found[:, task] += 2 * square / len(draws)
        return found.mT

    def _nothing(self) -> Tensor:
        return self._parameters.new_zeros(len(self._parameters), self._num_tasks, dtype=torch.float64)

    def _forms(self, v: Tensor, control: Tensor | None) -> Tensor:
        self._norms = None  # much memory, that was not asked for so far
        v = v.expand(self._parameters.shape)
        total = self._nothing()
        for one, derivatives in self._chunks:
            value, first, second = (tensor.double() for tensor in derivatives(v))
            total.index_add_(1, one.task, 2 * (first.square() + value * second))
            if control is not None:
                group = one.graph * self._num_tasks + one.task
                task_of_group = torch.arange(int(group.max()) + 1, device=v.device) % self._num_tasks
                for signs in one.signs:
                    sums = first.new_zeros(len(first), len(task_of_group)).index_add_(1, group, first * signs)
                    control.index_add_(1, task_of_group, 2 * sums.square() / len(one.signs))
        return total.mT


def quadratic_forms(
    chunks: Sequence[Residuals],
    num_tasks: int,
    parameters: Tensor,
    singles: Callable[[], Iterable[Residuals]],
    operators: Callable[[], Sequence[Operator]],
) -> JetForms | ProductForms:
    """By jets if every operation has a rule, which is a matter of the model alone; else by products.

    Args:
        chunks: see :class:`JetForms`.
        num_tasks: likewise.
        parameters: likewise.
        singles: likewise.
        operators: makes those of :class:`ProductForms`, whose kept graphs are large.
    """
    try:
        return JetForms(chunks, num_tasks, parameters, singles)
    except NoRuleError:
        return ProductForms(operators())
