"""The rule of each operation: what it makes of the 2-jets of its inputs (:mod:`ensemble_mtl.curvature.forms.jets`).

A jet is a pair (ẋ, ẍ) of first and second derivatives along a direction. In the code below, ``a1`` and ``a2`` are ȧ and
ä. A derivative that is zero everywhere is None, so that no time is spent on it: most constants have no jet at all.

The name of an operation stands in one table: linear operations, products, elementwise functions with f′ and f″, and so
on. ``tests/unit/curvature/test_jets.py`` checks every rule against double backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ensemble_mtl.curvature.forms.elementwise import DERIVATIVES
from ensemble_mtl.curvature.forms.operations import CONSTANTS, LINEAR_ARGUMENTS, PAD, REARRANGEMENTS, SUMS
from ensemble_mtl.curvature.forms.tape import Step

Jet = tuple[Tensor | None, Tensor | None]
"""ẋ and ẍ, each of the shape of x; None for zero."""

Jets = dict[int, Jet]
"""The jet of each tensor, by the tensor's id; a tensor without an entry is a constant."""

ZERO_JET: Jet = (None, None)


class NoRuleError(Exception):
    """An operation, or an operation with these options, has no rule here."""


Rule = Callable[[Step, Jets], list[Jet]]
"""From a step and the jets of its inputs to one jet for each of its outputs."""


def rule_of(step: Step) -> Rule:
    """The rule for the step's operation; f′ and f″ of an elementwise function are computed here, once.

    Raises:
        NoRuleError: there is no such rule, or the rule does not know one of the options.
    """
    name = step.name
    for names, rule in _RULES.items():
        if name in names and (rule in (_linear, _constant) or not step.kwargs):
            # A function of derivatives takes y, x and the options that it knows; step.args are x and the options.
            if rule is _elementwise and len(step.args) > DERIVATIVES[name].__code__.co_argcount - 1:
                break
            if rule is _elementwise:
                step.derivatives = DERIVATIVES[name](step.outputs[0], *step.args)
            return _linear_in_first_argument if rule is _linear and _is_linear_in_first_argument(step) else rule
    raise NoRuleError(f"{step.name} with {step.kwargs} has no rule for its second derivative in {__name__}")


def tensors_read_by(rule: Rule, step: Step) -> Iterable[Tensor]:
    """The tensors whose values, and not only their shapes, the rule reads at every pass."""
    if rule is _elementwise:  # f′ may be the output itself, as of exp
        return [derivative for derivative in step.derivatives or () if derivative is not None]
    if rule in (_linear, _linear_in_first_argument, _constant, _sum_or_difference):
        return ()
    return [*step.inputs, *step.outputs] if rule in (_quotient, _extremum) else step.inputs


def _jet(value: Any, jets: Jets) -> Jet:
    return jets.get(id(value), ZERO_JET)


def _sum(*terms: Tensor | None) -> Tensor | None:
    """Sum of the terms, of which None is zero."""
    total = None
    for term in terms:
        if term is not None:
            total = term if total is None else total + term
    return total


def _difference(left: Tensor | None, right: Tensor | None) -> Tensor | None:
    """Difference of the terms, of which None is zero."""
    if right is None:
        return left
    return -right if left is None else left - right


def _is_linear_in_first_argument(step: Step) -> bool:
    """Whether a linear operation makes one tensor of its first argument alone, a tensor."""
    exceptions = LINEAR_ARGUMENTS.keys() | {PAD}
    return isinstance(step.args[0], Tensor) and len(step.outputs) == 1 and step.name not in exceptions


def _linear_in_first_argument(step: Step, jets: Jets) -> list[Jet]:
    """The rule of y = L x: ẏ = L ẋ and ÿ = L ẍ, so that the derivatives take the place of the first argument.

    It is :func:`_linear` for its most frequent case. On small tensors Python's time is what a pass takes.
    """
    x, *options = step.args
    x1, x2 = jets.get(id(x), ZERO_JET)
    function, kwargs = step.function, step.kwargs
    return [
        (
            None if x1 is None else function(x1, *options, **kwargs),
            None if x2 is None else function(x2, *options, **kwargs),
        )
    ]


def _linear(step: Step, jets: Jets) -> list[Jet]:
    """The rule of y = L(x, z, …): ẏ = L(ẋ, ż, …) and ÿ = L(ẍ, z̈, …), with 0 for every constant term."""
    by_order = [_linear_of_order(step, jets, order) for order in (0, 1)]
    return list(zip(*by_order, strict=True))


def _linear_of_order(step: Step, jets: Jets, order: int) -> Sequence[Tensor | None]:
    """First (order 0) or second (order 1) derivatives of the outputs of a linear operation."""
    places = LINEAR_ARGUMENTS.get(step.name, (0,))
    terms = [value for place, value in enumerate(step.args) if place in places]
    leaves = [leaf for value in terms for leaf in (value if isinstance(value, list | tuple) else (value,))]
    if all(_jet(leaf, jets)[order] is None for leaf in leaves):
        return [None] * len(step.outputs)

    def derivative_of(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [derivative_of(inner) for inner in value]
        if not isinstance(value, Tensor):
            return 0.0
        derivative = _jet(value, jets)[order]
        return torch.zeros_like(value) if derivative is None else derivative

    args = [derivative_of(value) if place in places else value for place, value in enumerate(step.args)]
    if step.name == PAD:
        args[2:] = [0.0]  # the constant with which is padded
    outputs = step.function(*args, **step.kwargs)
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def _sum_or_difference(step: Step, jets: Jets) -> list[Jet]:
    """The rule of y = a ± b: ẏ = ȧ ± ḃ and ÿ = ä ± b̈. A constant term, which is frequent, costs nothing."""
    (a, b), shape = step.args, step.outputs[0].shape
    join = _difference if "sub" in step.name else _sum
    y1, y2 = (join(*pair) for pair in zip(_jet(a, jets), _jet(b, jets), strict=True))
    return [(None if y1 is None else y1.expand(shape), None if y2 is None else y2.expand(shape))]


def _constant(step: Step, jets: Jets) -> list[Jet]:
    """The rule of an operation that takes only the shape of its input: both derivatives are zero."""
    return [ZERO_JET] * len(step.outputs)


def _bilinear(step: Step, jets: Jets) -> list[Jet]:
    """The rule of a product, elementwise or of matrices."""
    a, b = step.args
    if a is b and step.name == "mul.Tensor":
        return [_square(a, jets)]
    return [_product(step.function, a, b, jets)]


def _square(a: Tensor, jets: Jets) -> Jet:
    """The jet of y = a²: ẏ = 2 a ȧ and ÿ = 2 (ȧ² + a ä)."""
    a1, a2 = _jet(a, jets)
    if a1 is None:
        return None, None if a2 is None else (a * a2).mul_(2)
    half = a1 * a1 if a2 is None else torch.addcmul(a1 * a1, a, a2)
    return (a * a1).mul_(2), half.mul_(2)


def _product(function: Any, a: Any, b: Any, jets: Jets) -> Jet:
    """The jet of a bilinear y = a b: ẏ = ȧ b + a ḃ and ÿ = ä b + 2 ȧ ḃ + a b̈ (Leibniz's rule)."""
    (a1, a2), (b1, b2) = _jet(a, jets), _jet(b, jets)
    return (
        _sum_of_products(function, (a1, b, 1), (a, b1, 1)),
        _sum_of_products(function, (a2, b, 1), (a1, b1, 2), (a, b2, 1)),
    )


def _sum_of_products(function: Any, *terms: tuple[Any, Any, int]) -> Tensor | None:
    """Σ coefficient · function(left, right) over those ``terms`` (left, right, coefficient) that are not zero."""
    total = None
    for left, right, coefficient in terms:
        if left is None or right is None:
            continue
        if total is not None and function is torch.ops.aten.bmm.default:
            total.baddbmm_(left, right, alpha=coefficient)  # a separate sum would take a tenth of the time
        else:
            value = function(left, right)
            if total is not None:
                total = torch.add(total, value, alpha=coefficient)
            else:
                total = value if coefficient == 1 else coefficient * value
    return total


def _term_plus_product(function: Any) -> Rule:
    """The rule of y = c + function(a, b), for a bilinear function: ẏ and ÿ are those of c plus those of the product."""

    def rule(step: Step, jets: Jets) -> list[Jet]:
        c, a, b = step.args
        pairs = zip(_jet(c, jets), _product(function, a, b, jets), strict=True)
        y1, y2 = (_sum(*pair) for pair in pairs)
        shape = step.outputs[0].shape
        return [(None if y1 is None else y1.expand(shape), None if y2 is None else y2.expand(shape))]

    return rule


def _quotient(step: Step, jets: Jets) -> list[Jet]:
    """The rule of q = a / b: b q̇ = ȧ − q ḃ and b q̈ = ä − (2 q̇ ḃ + q b̈), by Leibniz's rule for a = q b."""
    (a, b), (q,) = step.args, step.outputs
    (a1, a2), (b1, b2) = _jet(a, jets), _jet(b, jets)
    if b1 is None:  # division by a constant is linear
        return [(None if a1 is None else a1 / b, None if a2 is None else a2 / b)]
    q1 = ((0.0 if a1 is None else a1) - q * b1) / b
    subtracted = 2 * q1 * b1 + (0.0 if b2 is None else q * b2)
    return [(q1, ((0.0 if a2 is None else a2) - subtracted) / b)]


def _extremum(step: Step, jets: Jets) -> list[Jet]:
    """The rule of y = max(a, b) and min(a, b): the jet is that of the argument that is taken.

    Where a and b are equal, it is half of each, as in torch's autograd.
    """
    (a, b), (y,) = step.args, step.outputs
    share_of_a = torch.where(a == b, 0.5, (a == y).to(y.dtype))

    def mixed(of_a: Tensor | None, of_b: Tensor | None) -> Tensor | None:
        return _sum(None if of_a is None else share_of_a * of_a, None if of_b is None else (1 - share_of_a) * of_b)

    (a1, a2), (b1, b2) = _jet(a, jets), _jet(b, jets)
    return [(mixed(a1, b1), mixed(a2, b2))]


def _elementwise(step: Step, jets: Jets) -> list[Jet]:
    """The rule of y = f(x), by the chain rule: ẏ = f′ ẋ and ÿ = f′ ẍ + f″ ẋ²."""
    f1, f2 = cast("tuple[Tensor, Tensor | None]", step.derivatives)  # rule_of has computed them
    x1, x2 = _jet(step.args[0], jets)
    quadratic = None if f2 is None or x1 is None else f2 * x1 * x1
    y1, linear = (None if derivative is None else f1 * derivative for derivative in (x1, x2))
    return [(y1, _sum(linear, quadratic))]


_RULES: dict[frozenset[str], Rule] = {
    frozenset(REARRANGEMENTS | SUMS | {PAD}): _linear,
    frozenset(CONSTANTS): _constant,
    frozenset({"add.Tensor", "sub.Tensor"}): _sum_or_difference,
    frozenset({"mul.Tensor", "bmm.default", "mm.default"}): _bilinear,
    frozenset({"addcmul.default"}): _term_plus_product(torch.ops.aten.mul.Tensor),
    frozenset({"baddbmm.default"}): _term_plus_product(torch.ops.aten.bmm.default),
    frozenset({"div.Tensor"}): _quotient,
    frozenset({"maximum.default", "minimum.default"}): _extremum,
    frozenset(DERIVATIVES): _elementwise,
}
