"""Matrices with a chosen spectrum, and what the estimators return for them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.curvature import lanczos
from ensemble_mtl.curvature.forms.quadratic import Forms, ProductForms
from ensemble_mtl.curvature.operator import DenseOperator
from ensemble_mtl.curvature.sampling import rademacher
from ensemble_mtl.curvature.trace.base import TraceEstimate


def with_spectrum(values: Tensor, seed: int = 0) -> Tensor:
    """Return a dense symmetric matrix ``[1, P, P]`` float64 with the eigenvalues ``values [P]``."""
    a = torch.randn(len(values), len(values), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, _ = torch.linalg.qr(a)
    return ((q * values.double()) @ q.T)[None]


def trained(size: int, seed: int = 1) -> Tensor:
    """Return eigenvalues ``[size]`` like a trained network's: a bulk of both signs near 0, and twelve large ones."""
    bulk = 0.05 * torch.randn(size - 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([bulk, torch.logspace(-0.5, 2, 12, dtype=torch.float64)])


def stream(seed: int = 0) -> torch.Generator:
    """Return a random generator with this seed."""
    return torch.Generator().manual_seed(seed)


def signs(operator: DenseOperator, count: int, seed: int = 0) -> Iterator[Tensor]:
    """Yield ``count`` vectors of random signs for the operator."""
    generator = stream(seed)
    for _ in range(count):
        yield rademacher(operator.shape[1], operator, generator)


def density_of(
    operator: DenseOperator, name: str, num_steps: int, runs: int, seed: int = 0, **options
) -> lanczos.Density:
    module = registry.family("curvature.density").load(name)
    return module.estimate(module.Options(name=name, **options), num_steps, runs, operator, stream(seed))


class WithExactPart(ProductForms):
    """Quadratic forms of matrices with a part C = 2 Σ c cᵀ whose trace is exact.

    Args:
        operator: the matrices of the first task.
        rows: ``[M, n, P]`` vectors c.
        cost: time that tr C takes, in units of a quadratic form.
        other_tasks: the matrices of further tasks, whose C is 0.

    Attributes:
        num_traces: how often tr C was computed.
    """

    def __init__(self, operator: DenseOperator, rows: Tensor, cost: float = 0.0, *other_tasks: DenseOperator) -> None:
        super().__init__([operator, *other_tasks])
        self.rows, self.cost, self.num_traces = rows, cost, 0

    def with_gauss_newton(self, v: Tensor) -> tuple[Tensor, Tensor]:
        forms = self.quadratic_forms(v)
        return forms, self._of_all_tasks(2 * (self.rows @ v[:, :, None]).square().sum((1, 2)), len(forms))

    def gauss_newton_cost(self, budget: float = math.inf) -> float:
        return self.cost

    def gauss_newton_trace(self) -> Tensor:
        self.num_traces += 1
        return self._of_all_tasks(2 * self.rows.square().sum((1, 2)), len(self._operators))

    def _of_all_tasks(self, values: Tensor, count: int) -> Tensor:
        """Return ``[count, M]``: ``values [M]`` for the first task, and 0 for all other tasks."""
        return torch.cat([values[None], torch.zeros(count - 1, len(values), dtype=values.dtype)])


def trace_of(
    operator: DenseOperator,
    name: str,
    krylov: lanczos.Tridiagonal,
    num_vectors: int,
    seed: int = 0,
    forms: Forms | None = None,
    **options,
) -> TraceEstimate:
    """Return the trace of one task's matrices by the estimator ``name``."""
    module = registry.family("curvature.trace").load(name)
    if name == "deflated":
        options.setdefault("max_samples", num_vectors)
    settings = module.Options(name=name, **options)
    control = module.control_variate(settings, krylov, signs(operator, num_vectors, seed))
    norms = norm_of(operator)[None]
    forms = forms or ProductForms([operator])
    return module.estimate(settings, signs(operator, num_vectors, seed), num_vectors, forms, [control], norms)


def norm_of(operator: DenseOperator) -> Tensor:
    """Return the norms ‖A‖_F ``[M]``."""
    return operator.matrices.double().square().sum((1, 2)).sqrt()


def krylov_of(operator: DenseOperator, steps: int, seed: int = 0) -> lanczos.Tridiagonal:
    return lanczos.tridiagonalize(operator, lanczos.gaussian_start(operator, stream(seed)), steps)
