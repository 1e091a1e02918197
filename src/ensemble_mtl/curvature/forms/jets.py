"""Second directional derivatives by Taylor arithmetic of second order, forward through the function ("2-jets").

At θ + s v every intermediate value is a function of the number s, with the Taylor series

    x(s) = x + s ẋ + s²/2 ẍ + …

A 2-jet is the pair (ẋ, ẍ). It starts as (v, 0) at θ. Each operation has a rule that makes the jets of its outputs from
those of its inputs (:mod:`ensemble_mtl.curvature.forms.rules`); for example, z = x y has ż = ẋ y + x ẏ and
z̈ = ẍ y + 2 ẋ ẏ + x ÿ. The jet of a residual r then gives the quadratic form of its squared error:

    vᵀ∇²(r²)v = d²/ds² r² = 2 (ṙ² + r r̈)

One forward pass gives the jets of all residuals, and so vᵀHv of the losses of all tasks, without a backward pass.
Whatever depends on θ alone is computed once and kept for all vectors v.
Source: Griewank and Walther 2008, chapter 13; Bettencourt et al. 2019.

A function with an operation that has no rule is refused when its tape is made. Nothing is ever approximated.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ensemble_mtl.curvature.forms.rules import ZERO_JET, Jets, rule_of, tensors_read_by
from ensemble_mtl.curvature.forms.tape import Tape


class SecondDerivative:
    """f, d/ds f(θ + s v) and d²/ds² f(θ + s v) at s = 0, for one f and θ and many v.

    Args:
        function: f, from ``[M, P]`` to a tensor of any shape.
        point: ``[M, P]`` θ.

    Raises:
        NoRuleError: the function has an operation without a rule.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], point: Tensor) -> None:
        self.tape = Tape(function, point)
        with torch.no_grad():
            rules = [rule_of(step) for step in self.tape.steps]
        pairs = list(zip(rules, self.tape.steps, strict=True))
        # Rules of linear operations need no values at θ; those of the others do, and only these are kept in memory.
        self.tape.forget(tensor for rule, step in pairs for tensor in tensors_read_by(rule, step))
        self._work = [(rule, step, list(map(id, step.outputs))) for rule, step in pairs]

    @torch.no_grad()
    def __call__(self, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value, first and second derivative of f along ``v [M, P]``, all of the shape of f's value."""
        jets: Jets = {id(self.tape.point): (v, None)}  # θ + s v: ẋ = v, ẍ = 0
        for rule, step, outputs in self._work:
            for name, jet in zip(outputs, rule(step, jets), strict=True):
                jets[name] = jet
            for name in step.last_used:
                jets.pop(name, None)
        value = self.tape.value
        first, second = jets.get(id(value), ZERO_JET)
        zeros = torch.zeros_like(value)
        return value, zeros if first is None else first, zeros if second is None else second
