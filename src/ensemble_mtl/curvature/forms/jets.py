"""Second directional derivatives by Taylor arithmetic of second order ("2-jets").

Along θ + s v every value on the way has the derivatives ẋ and ẍ with respect to s; each operation
has a rule that makes those of its outputs from those of its inputs. What the residuals of all tasks
become gives vᵀHv of all their losses, so one pass over the trunk serves all tasks, without a
backward pass. Whatever depends on θ alone is kept between vectors.
Source: Griewank and Walther 2008, chapter 13; Bettencourt et al. 2019.

An operation without a rule (:mod:`ensemble_mtl.curvature.forms.rules`) is refused when the tape is made, never
approximated.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ensemble_mtl.curvature.forms.rules import NOTHING, Jets, read_by, rule_of
from ensemble_mtl.curvature.forms.tape import Tape


class SecondDerivative:
    """f, d/ds f(θ + s v) and d²/ds² f(θ + s v) at s = 0, for one f and θ and many v.

    Args:
        function: ``[M, P]`` to anything.
        point: ``[M, P]`` θ.

    Raises:
        NoRuleError: the function has an operation without a rule.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], point: Tensor) -> None:
        self.tape = Tape(function, point)
        with torch.no_grad():
            rules = [rule_of(step) for step in self.tape.steps]
        pairs = list(zip(rules, self.tape.steps, strict=True))
        self.tape.forget(tensor for rule, step in pairs for tensor in read_by(rule, step))
        self._work = [(rule, step, list(map(id, step.outputs))) for rule, step in pairs]

    @torch.no_grad()
    def __call__(self, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``v [M, P]`` to value, first and second derivative, of one shape."""
        jets: Jets = {id(self.tape.point): (v, None)}
        for rule, step, outputs in self._work:
            for name, jet in zip(outputs, rule(step, jets), strict=True):
                jets[name] = jet
            for name in step.finished:
                jets.pop(name, None)
        value = self.tape.value
        first, second = jets.get(id(value), NOTHING)
        nothing = torch.zeros_like(value)
        return value, nothing if first is None else first, nothing if second is None else second
