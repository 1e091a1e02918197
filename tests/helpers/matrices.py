"""Matrices of known spectrum, and what the estimators make of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.curvature import lanczos
from ensemble_mtl.curvature.forms.quadratic import Forms, ProductForms
from ensemble_mtl.curvature.hutchinson import rademacher
from ensemble_mtl.curvature.operator import DenseOperator
from ensemble_mtl.curvature.trace.base import Trace


def with_spectrum(values: Tensor, seed: int = 0) -> Tensor:
    """A dense symmetric matrix ``[1, P, P]`` with the given eigenvalues, float64."""
    a = torch.randn(len(values), len(values), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, _ = torch.linalg.qr(a)
    return ((q * values.double()) @ q.T)[None]


def trained(size: int, seed: int = 1) -> Tensor:
    """Eigenvalues as of a trained network: a bulk of both signs near zero, and twelve large ones."""
    bulk = 0.05 * torch.randn(size - 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([bulk, torch.logspace(-0.5, 2, 12, dtype=torch.float64)])


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def signs(operator: DenseOperator, count: int, seed: int = 0) -> Iterator[Tensor]:
    generator = stream(seed)
    for _ in range(count):
        yield rademacher(operator.shape[1], operator, generator)


def density_of(
    operator: DenseOperator, name: str, num_steps: int, runs: int, seed: int = 0, **options
) -> lanczos.Density:
    module = registry.load("curvature.density", name)
    return module.estimate(module.Options(name=name, **options), num_steps, runs, operator, stream(seed))


class PartlyKnown(ProductForms):
    """Of matrices whose part C = 2 Σ c cᵀ is known.

    Args:
        operator: of the matrices.
        rows: ``[M, n, P]`` c.
        cost: of tr C, in forms.
        others: further tasks, of which nothing is known.
    """

    def __init__(self, operator: DenseOperator, rows: Tensor, cost: float = 0.0, *others: DenseOperator) -> None:
        super().__init__([operator, *others])
        self.rows, self.cost, self.asked = rows, cost, 0

    def with_gauss_newton(self, v: Tensor) -> tuple[Tensor, Tensor]:
        found = self.quadratic_forms(v)
        return found, self._alone(2 * (self.rows @ v[:, :, None]).square().sum((1, 2)), len(found))

    def gauss_newton_cost(self, worth: float = math.inf) -> float:
        return self.cost

    def gauss_newton_trace(self) -> Tensor:
        self.asked += 1
        return self._alone(2 * self.rows.square().sum((1, 2)), len(self._operators))

    def _alone(self, first: Tensor, count: int) -> Tensor:
        return torch.cat([first[None], torch.zeros(count - 1, len(first), dtype=first.dtype)])


def trace_of(
    operator: DenseOperator,
    name: str,
    krylov: lanczos.Tridiagonal,
    most: int,
    seed: int = 0,
    forms: Forms | None = None,
    **options,
) -> Trace:
    """The trace by the estimator ``name``, of one task."""
    module = registry.load("curvature.trace", name)
    if name == "deflated":
        options.setdefault("max_samples", most)
    chosen = module.Options(name=name, **options)
    control = module.control(chosen, krylov, signs(operator, most, seed))
    norms = norm_of(operator)[None]
    forms = forms or ProductForms([operator])
    return module.estimate(chosen, signs(operator, most, seed), most, forms, [control], norms)


def norm_of(operator: DenseOperator) -> Tensor:
    """``[M]`` ‖A‖_F."""
    return operator.matrices.double().square().sum((1, 2)).sqrt()


def krylov_of(operator: DenseOperator, steps: int, seed: int = 0) -> lanczos.Tridiagonal:
    return lanczos.tridiagonalize(operator, lanczos.gaussian(operator, stream(seed)), steps)
