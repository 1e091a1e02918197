"""What each operation makes of the derivatives of its inputs, see :mod:`ensemble_mtl.curvature.forms.jets`.

A name stands in one table: linear operations, products, elementwise functions with f′ and f″, …
``tests/unit/curvature/test_jets.py`` checks every rule against double backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ensemble_mtl.curvature.forms.tape import Step

Jet = tuple[Tensor | None, Tensor | None]
"""ẋ and ẍ; None for zero."""

Jets = dict[int, Jet]
"""By the id of the tensor."""

NOTHING: Jet = (None, None)


class NoRuleError(Exception):
    """An operation is not known here."""


Rule = Callable[[Step, Jets], list[Jet]]


def rule_of(step: Step) -> Rule:
    """The rule for the operation, or NoRuleError; derivatives of elementwise functions are taken at once."""
    name = step.name
    for names, rule in _RULES.items():
        if name in names and (rule in (_linear, _constant) or not step.kwargs):
            if rule is _elementwise and len(step.args) > _DERIVATIVES[name].__code__.co_argcount - 1:
                break  # an option that the rule does not know
            if rule is _elementwise:
                step.derivatives = _DERIVATIVES[name](step.outputs[0], *step.args)
            return _moved if rule is _linear and _is_of_its_first_input(step) else rule
    raise NoRuleError(f"{step.name} with {step.kwargs} has no rule for its second derivative in {__name__}")


def read_by(rule: Rule, step: Step) -> Iterable[Tensor]:
    """Tensors whose values, not shapes alone, the rule reads at every pass."""
    if rule is _elementwise:  # a derivative may be the output itself
        return [derivative for derivative in step.derivatives or () if derivative is not None]
    if rule in (_linear, _moved, _constant, _added):
        return ()
    return [*step.inputs, *step.outputs] if rule in (_quotient, _extremum) else step.inputs


def _jet(value: Any, jets: Jets) -> Jet:
    return jets.get(id(value), NOTHING)


def _sum(*terms: Tensor | None) -> Tensor | None:
    total = None
    for term in terms:
        if term is not None:
            total = term if total is None else total + term
    return total


def _is_of_its_first_input(step: Step) -> bool:
    """Whether a linear operation makes one tensor of one term, so that the term's derivatives simply take its place."""
    known = _TERMS.keys() | _FILLS
    return isinstance(step.args[0], Tensor) and len(step.outputs) == 1 and step.name not in known


def _moved(step: Step, jets: Jets) -> list[Jet]:
    """:func:`_linear` of one term: most operations are such, and on small tensors Python's time is what they take."""
    term, *rest = step.args
    first, second = jets.get(id(term), NOTHING)
    function, kwargs = step.function, step.kwargs
    return [
        (
            None if first is None else function(first, *rest, **kwargs),
            None if second is None else function(second, *rest, **kwargs),
        )
    ]


def _difference(left: Tensor | None, right: Tensor | None) -> Tensor | None:
    if right is None:
        return left
    return -right if left is None else left - right


def _linear(step: Step, jets: Jets) -> list[Jet]:
    """The same operation on the derivatives, with 0 for every constant term."""
    found = [_linear_channel(step, jets, channel) for channel in (0, 1)]
    return list(zip(*found, strict=True))


def _linear_channel(step: Step, jets: Jets, channel: int) -> Sequence[Tensor | None]:
    places = _TERMS.get(step.name, (0,))
    terms = [value for place, value in enumerate(step.args) if place in places]
    leaves = [leaf for value in terms for leaf in (value if isinstance(value, list | tuple) else (value,))]
    if all(_jet(leaf, jets)[channel] is None for leaf in leaves):
        return [None] * len(step.outputs)

    def term(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [term(inner) for inner in value]
        if not isinstance(value, Tensor):
            return 0.0
        derivative = _jet(value, jets)[channel]
        return torch.zeros_like(value) if derivative is None else derivative

    args = [term(value) if place in places else value for place, value in enumerate(step.args)]
    if step.name in _FILLS:
        args[2:] = [0.0]
    found = step.function(*args, **step.kwargs)
    return [found] if isinstance(found, Tensor) else list(found)


def _added(step: Step, jets: Jets) -> list[Jet]:
    """Of a + b and a − b; constants are many here, and cost nothing."""
    (a, b), shape = step.args, step.outputs[0].shape
    join = _difference if "sub" in step.name else _sum
    first, second = (join(*pair) for pair in zip(_jet(a, jets), _jet(b, jets), strict=True))
    return [(None if first is None else first.expand(shape), None if second is None else second.expand(shape))]


def _constant(step: Step, jets: Jets) -> list[Jet]:
    return [NOTHING] * len(step.outputs)


def _bilinear(step: Step, jets: Jets) -> list[Jet]:
    a, b = step.args
    if a is b and step.name == "mul.Tensor":
        return [_square(a, jets)]
    return [_product(step.function, a, b, jets)]


def _square(a: Tensor, jets: Jets) -> Jet:
    """Of a²: 2 a ȧ and 2 (a ä + ȧ²)."""
    first, second = _jet(a, jets)
    if first is None:
        return None, None if second is None else (a * second).mul_(2)
    bend = first * first if second is None else torch.addcmul(first * first, a, second)
    return (a * first).mul_(2), bend.mul_(2)


def _product(function: Any, a: Any, b: Any, jets: Jets) -> Jet:
    (a1, a2), (b1, b2) = _jet(a, jets), _jet(b, jets)
    return _products(function, (a1, b, 1), (a, b1, 1)), _products(function, (a2, b, 1), (a1, b1, 2), (a, b2, 1))


def _products(function: Any, *terms: tuple[Any, Any, int]) -> Tensor | None:
    """Σ factor · function(left, right) over the terms that are not zero."""
    total = None
    for left, right, factor in terms:
        if left is None or right is None:
            continue
        if total is not None and function is torch.ops.aten.bmm.default:
            total.baddbmm_(left, right, alpha=factor)  # a sum of its own would take a tenth of the time
        else:
            value = function(left, right)
            if total is not None:
                total = torch.add(total, value, alpha=factor)
            else:
                total = value if factor == 1 else factor * value
    return total


def _added_product(function: Any) -> Rule:
    """Of c + function(a, b)."""

    def rule(step: Step, jets: Jets) -> list[Jet]:
        c, a, b = step.args
        terms = zip(_jet(c, jets), _product(function, a, b, jets), strict=True)
        first, second = (_sum(*pair) for pair in terms)
        shape = step.outputs[0].shape
        return [(None if first is None else first.expand(shape), None if second is None else second.expand(shape))]

    return rule


def _quotient(step: Step, jets: Jets) -> list[Jet]:
    """Of q = a / b: b q̇ = ȧ − q ḃ and b q̈ = ä − 2 q̇ ḃ − q b̈."""
    (a, b), (q,) = step.args, step.outputs
    (a1, a2), (b1, b2) = _jet(a, jets), _jet(b, jets)
    if b1 is None:
        return [(None if a1 is None else a1 / b, None if a2 is None else a2 / b)]
    first = ((0.0 if a1 is None else a1) - q * b1) / b
    bend = 2 * first * b1 + (0.0 if b2 is None else q * b2)
    return [(first, ((0.0 if a2 is None else a2) - bend) / b)]


def _extremum(step: Step, jets: Jets) -> list[Jet]:
    """Of the one that is taken; of both by halves where they are equal, as autograd has it."""
    (a, b), (out,) = step.args, step.outputs
    share = torch.where(a == b, 0.5, (a == out).to(out.dtype))

    def mixed(first: Tensor | None, second: Tensor | None) -> Tensor | None:
        return _sum(None if first is None else share * first, None if second is None else (1 - share) * second)

    (a1, a2), (b1, b2) = _jet(a, jets), _jet(b, jets)
    return [(mixed(a1, b1), mixed(a2, b2))]


def _elementwise(step: Step, jets: Jets) -> list[Jet]:
    """Of y = f(x): ẏ = f′ ẋ and ÿ = f′ ẍ + f″ ẋ²."""
    slope, bend = cast("tuple[Tensor, Tensor | None]", step.derivatives)  # since rule_of has taken them
    first, second = _jet(step.args[0], jets)
    curved = None if bend is None or first is None else bend * first * first
    scaled = [None if derivative is None else slope * derivative for derivative in (first, second)]
    return [(scaled[0], _sum(scaled[1], curved))]


def _softplus(y: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
    s = torch.where(x > 20, 1.0, torch.sigmoid(x))  # torch's softplus is x from 20 on
    return s, s * (1 - s)


def _power(y: Tensor, x: Tensor, n: float) -> tuple[Tensor, Tensor | None]:
    if n == 2:
        return 2 * x, torch.full_like(x, 2.0)
    return n * x.pow(n - 1), n * (n - 1) * x.pow(n - 2)


def _clamp(y: Tensor, x: Tensor, low: float | None = None, high: float | None = None) -> tuple[Tensor, Tensor | None]:
    inside = torch.ones_like(x, dtype=torch.bool)
    inside = inside if low is None else inside & (x >= low)
    return (inside if high is None else inside & (x <= high)).to(x.dtype), None


_DERIVATIVES: dict[str, Callable[..., tuple[Tensor, Tensor | None]]] = {
    "relu.default": lambda y, x: ((x > 0).to(x.dtype), None),
    "leaky_relu.default": lambda y, x, slope=0.01: (torch.where(x > 0, torch.ones_like(x), slope), None),
    "tanh.default": lambda y, x: (1 - y * y, -2 * y * (1 - y * y)),
    "sigmoid.default": lambda y, x: (y * (1 - y), y * (1 - y) * (1 - 2 * y)),
    "softplus.default": _softplus,
    "exp.default": lambda y, x: (y, y),
    "log.default": lambda y, x: (1 / x, -1 / (x * x)),
    "sqrt.default": lambda y, x: (0.5 / y, -0.25 / (y * x)),
    "rsqrt.default": lambda y, x: (-0.5 * y / x, 0.75 * y / (x * x)),
    "reciprocal.default": lambda y, x: (-y * y, 2 * y * y * y),
    "rsub.Scalar": lambda y, x, value: (-torch.ones_like(x), None),
    "pow.Tensor_Scalar": _power,
    "clamp.default": _clamp,
    "masked_fill.Scalar": lambda y, x, mask, value: ((~mask).to(x.dtype).expand(x.shape), None),
}
"""f′ and f″ (None for zero) from y = f(x), x and the options."""

_TERMS = {"index_add.default": (0, 3), "where.self": (1, 2)}
"""Places of the terms in which an operation is linear, where that is not the first alone."""

SHAPES = {
    "view.default", "_unsafe_view.default", "expand.default", "transpose.int", "permute.default", "t.default",
    "unsqueeze.default", "squeeze.dim", "select.int", "slice.Tensor", "split_with_sizes.default", "split.Tensor",
    "clone.default", "alias.default", "_to_copy.default", "cat.default", "stack.default", "gather.default",
    "index_select.default", "take.default", "repeat.default",
}  # fmt: skip
"""Operations that move values and change none."""

_SUMS = {
    "neg.default", "mean.default", "mean.dim", "sum.default", "sum.dim_IntList", "index_add.default", "where.self",
}  # fmt: skip
_CONSTANTS = {
    "new_zeros.default", "new_ones.default", "new_full.default", "zeros_like.default",
    "ones_like.default", "full_like.default",
}  # fmt: skip
_FILLS = {"constant_pad_nd.default"}
"""Linear but for a constant, the third argument."""

_RULES: dict[frozenset[str], Rule] = {
    frozenset(SHAPES | _SUMS | _FILLS): _linear,
    frozenset(_CONSTANTS): _constant,
    frozenset({"add.Tensor", "sub.Tensor"}): _added,
    frozenset({"mul.Tensor", "bmm.default", "mm.default"}): _bilinear,
    frozenset({"addcmul.default"}): _added_product(torch.ops.aten.mul.Tensor),
    frozenset({"baddbmm.default"}): _added_product(torch.ops.aten.bmm.default),
    frozenset({"div.Tensor"}): _quotient,
    frozenset({"maximum.default", "minimum.default"}): _extremum,
    frozenset(_DERIVATIVES): _elementwise,
}
