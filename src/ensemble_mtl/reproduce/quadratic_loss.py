"""A quadratic loss whose Hessian is known, and what the estimators find of it by products alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.curvature.forms.quadratic import ProductForms
from ensemble_mtl.curvature.hutchinson import TraceEstimate, rademacher, trace
from ensemble_mtl.curvature.lanczos import Density
from ensemble_mtl.curvature.operator import HessianOperator
from ensemble_mtl.curvature.pairs import wasserstein
from ensemble_mtl.curvature.trace.base import Trace
from ensemble_mtl.models.layout import stream_seed

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Exact:
    """What is known of a symmetric matrix.

    Attributes:
        eigenvalues: ``[P]`` ascending.
        trace: the sum of its diagonal, which needs no eigenvalue.
        frobenius: ‖A‖_F, likewise.
    """

    eigenvalues: FloatArray
    trace: float
    frobenius: float

    @classmethod
    def of(cls, matrix: Tensor) -> Exact:
        """By NumPy's dense eigenvalues (LAPACK), which share no code with the estimators."""
        dense = matrix.numpy()
        return cls(np.linalg.eigvalsh(dense), float(np.trace(dense)), float(np.sqrt(np.square(dense).sum())))


def symmetric_gaussian(size: int, seed: int) -> Tensor:
    """½ (B + Bᵀ) ``[P, P]``, B of independent standard normal entries; float64."""
    generator = torch.Generator().manual_seed(stream_seed("symmetric gaussian", size, seed))
    b = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return (b + b.T) / 2


def hessian(matrix: Tensor, seed: int) -> HessianOperator:
    """∇² of L(x) = ½ xᵀAx at a random x, by double backward: nothing but L is told to the operator."""

    def loss(x: Tensor) -> Tensor:
        return 0.5 * (x * (x @ matrix)).sum(1)

    generator = torch.Generator().manual_seed(stream_seed("quadratic point", seed))
    return HessianOperator([loss], torch.randn(1, len(matrix), generator=generator, dtype=matrix.dtype))


def density(name: str, operator: HessianOperator, steps: int, runs: int, seed: int) -> Density:
    """By the estimator ``name`` of ``curvature/density`` with its default options."""
    module = registry.load("curvature.density", name)
    generator = torch.Generator().manual_seed(stream_seed("quadratic density", seed))
    found: Density = module.estimate(module.Options(), steps, runs, operator, generator)
    return found


def hutchinson(operator: HessianOperator, samples: int, seed: int) -> TraceEstimate:
    """The published estimator of the trace, with every sample."""
    return trace(operator, samples, torch.Generator().manual_seed(stream_seed("quadratic signs", seed)))


def deflated(operator: HessianOperator, found: Density, samples: int, seed: int) -> Trace:
    """The trace with the Lanczos basis as control variate, from the same vectors as :func:`hutchinson`."""
    module = registry.load("curvature.trace", "deflated")
    options = module.Options()

    def signs() -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(stream_seed("quadratic signs", seed))
        for _ in range(samples):
            yield rademacher(operator.shape[1], operator, generator)

    control = module.control(options, found.first, signs())
    norms = found.frobenius()[0][None]
    estimate: Trace = module.estimate(options, signs(), samples, ProductForms([operator]), [control], norms)
    return estimate


def distance(found: Density, exact: Exact) -> float:
    """Wasserstein-1 between the quadrature and the exact spectrum, in units of the eigenvalues."""
    nodes, weights = found.nodes[0].numpy(), found.weights[0].numpy()
    known = weights > 0
    values = exact.eigenvalues
    return wasserstein(nodes[known], weights[known] / len(nodes), values, np.full(len(values), 1 / len(values)))
