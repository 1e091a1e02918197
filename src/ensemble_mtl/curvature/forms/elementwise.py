"""First and second derivatives of elementwise functions, for :mod:`ensemble_mtl.curvature.forms.rules`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Derivatives = tuple[Tensor, Tensor | None]
"""f′ and f″, both of the shape of x; f″ is None where it is 0 everywhere."""

SOFTPLUS_IS_LINEAR_FROM = 20
"""From this x on, torch's softplus returns x itself."""


def _softplus(y: Tensor, x: Tensor) -> Derivatives:
    """The derivatives of log(1 + eˣ): f′ = σ(x) and f″ = σ(x) (1 − σ(x))."""
    s = torch.where(x > SOFTPLUS_IS_LINEAR_FROM, 1.0, torch.sigmoid(x))
    return s, s * (1 - s)


def _power(y: Tensor, x: Tensor, n: float) -> Derivatives:
    """The derivatives of xⁿ: f′ = n xⁿ⁻¹ and f″ = n (n − 1) xⁿ⁻²."""
    if n == 2:
        return 2 * x, torch.full_like(x, 2.0)
    return n * x.pow(n - 1), n * (n - 1) * x.pow(n - 2)


def _clamp(y: Tensor, x: Tensor, low: float | None = None, high: float | None = None) -> Derivatives:
    """The derivatives of x cut to [low, high]: f′ is 1 inside, bounds included, and else 0; f″ is 0."""
    inside = torch.ones_like(x, dtype=torch.bool)
    inside = inside if low is None else inside & (x >= low)
    return (inside if high is None else inside & (x <= high)).to(x.dtype), None


DERIVATIVES: dict[str, Callable[..., Derivatives]] = {
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
"""Name of an operation -> its derivatives from y = f(x), from x, and from the operation's options in their order."""
