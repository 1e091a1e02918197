"""Matrices of known spectrum, and what the estimators make of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ensemble_mtl import registry
from ensemble_mtl.probes import lanczos
from ensemble_mtl.probes.forms import ProductForms
from ensemble_mtl.probes.hutchinson import rademacher
from ensemble_mtl.probes.operator import DenseOperator
from ensemble_mtl.probes.trace.base import Trace


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
    module = registry.load("probes.density", name)
    return module.estimate(module.Options(name=name, **options), num_steps, runs, operator, stream(seed))


def trace_of(
    operator: DenseOperator, name: str, krylov: lanczos.Tridiagonal, most: int, seed: int = 0, **options
) -> Trace:
    """The trace by the estimator ``name``, of one task."""
    module = registry.load("probes.trace", name)
    chosen = module.Options(name=name, **options)
    control = module.control(chosen, krylov, signs(operator, most, seed))
    norms = (operator.matrices.double().square().sum((1, 2)).sqrt())[None]
    forms = ProductForms([operator])
    return module.estimate(chosen, signs(operator, most, seed), forms, [control], norms)


def krylov_of(operator: DenseOperator, steps: int, seed: int = 0) -> lanczos.Tridiagonal:
    return lanczos.tridiagonalize(operator, lanczos.gaussian(operator, stream(seed)), steps)
