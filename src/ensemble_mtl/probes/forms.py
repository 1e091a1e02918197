"""Quadratic forms vᵀHv of every task at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ensemble_mtl.probes.jet_rules import NoRuleError
from ensemble_mtl.probes.jets import SecondDerivative
from ensemble_mtl.probes.operator import LossFunction, Operator


class ProductForms:
    """By one product per task.

    Args:
        operators: of T tasks, all of one shape.
    """

    def __init__(self, operators: Sequence[Operator]) -> None:
        self._operators = operators

    def quadratic_forms(self, v: Tensor) -> Tensor:
        """``v [1 or M, P]`` to vᵀHv ``[T, M]``, float64."""
        v = v.expand(self._operators[0].shape)
        return torch.stack([(v.double() * one.matvec(v).double()).sum(1) for one in self._operators])


class JetForms:
    """By second-order forward derivatives, one pass for all tasks.

    Args:
        losses: one function per chunk of the probe set, to ``[M, T]``; the losses are their sums.
        parameters: ``[M, P]`` point at which the Hessians are taken.

    Raises:
        NoRuleError: an operation of the losses has no rule.
    """

    def __init__(self, losses: Sequence[LossFunction], parameters: Tensor) -> None:
        self._shape = parameters.shape
        self._chunks = [SecondDerivative(loss, parameters) for loss in losses]

    def quadratic_forms(self, v: Tensor) -> Tensor:
        """``v [1 or M, P]`` to vᵀHv ``[T, M]``, float64."""
        v = v.expand(self._shape)
        return torch.stack([chunk(v).double() for chunk in self._chunks]).sum(0).mT


def quadratic_forms(
    losses: Sequence[LossFunction], parameters: Tensor, operators: Callable[[], Sequence[Operator]]
) -> JetForms | ProductForms:
    """By jets if every operation has a rule, which is a matter of the model alone; else by products.

    Args:
        losses: see :class:`JetForms`.
        parameters: likewise.
        operators: makes those of :class:`ProductForms`, whose kept graphs are large.
    """
    try:
        return JetForms(losses, parameters)
    except NoRuleError:
        return ProductForms(operators())
