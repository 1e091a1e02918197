"""A quadratic loss whose Hessian is known, and estimates of that Hessian from products with vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ensemble_mtl.curvature.density import base as densities
from ensemble_mtl.curvature.forms.quadratic import ProductForms
from ensemble_mtl.curvature.lanczos import Density
from ensemble_mtl.curvature.operator import HessianOperator
from ensemble_mtl.curvature.pairs import wasserstein
from ensemble_mtl.curvature.sampling import SampleMean, rademacher
from ensemble_mtl.curvature.trace import base as traces
from ensemble_mtl.curvature.trace.base import TraceEstimate
from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.models.layout import stream_seed


@dataclass(frozen=True)
class Exact:
    """The exact properties of a symmetric matrix A.

    Attributes:
        eigenvalues: ``[P]`` the eigenvalues in rising order.
        trace: the sum of the diagonal, computed without the eigenvalues.
        frobenius: the norm ‖A‖_F, computed from the entries without the eigenvalues.
    """

    eigenvalues: FloatArray
    trace: float
    frobenius: float

    @classmethod
    def of(cls, matrix: Tensor) -> Exact:
        """The exact properties of ``matrix`` ``[P, P]``, by LAPACK, which shares no code with the estimators."""
        dense = matrix.numpy()
        return cls(np.linalg.eigvalsh(dense), float(np.trace(dense)), float(np.sqrt(np.square(dense).sum())))


def symmetric_gaussian(size: int, seed: int) -> Tensor:
    """The matrix ½ (B + Bᵀ) ``[P, P]`` in float64, with P = ``size`` and independent standard normal entries of B."""
    generator = torch.Generator().manual_seed(stream_seed("symmetric gaussian", size, seed))
    b = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return (b + b.T) / 2


def hessian(matrix: Tensor, seed: int) -> HessianOperator:
    """The Hessian of L(x) = ½ xᵀAx at a random x, as an operator that knows only L and differentiates it twice.

    Args:
        matrix: A, symmetric, ``[P, P]``.
        seed: the seed of x.
    """

    def loss(x: Tensor) -> Tensor:
        return 0.5 * (x * (x @ matrix)).sum(1)

    generator = torch.Generator().manual_seed(stream_seed("quadratic point", seed))
    return HessianOperator([loss], torch.randn(1, len(matrix), generator=generator, dtype=matrix.dtype))


def density(name: str, operator: HessianOperator, steps: int, runs: int, seed: int) -> Density:
    """The spectral density by the estimator ``name`` of ``curvature/density``, with its default options.

    Args:
        name: the name of the estimator.
        operator: the Hessian.
        steps: the number of steps of each Lanczos run.
        runs: the number of Lanczos runs.
        seed: the seed of their start vectors.
    """
    estimator = densities.FAMILY.load(name)
    generator = torch.Generator().manual_seed(stream_seed("quadratic density", seed))
    return estimator.estimate(estimator.Options(name=name), steps, runs, operator, generator)


def hutchinson(operator: HessianOperator, samples: int, seed: int) -> SampleMean:
    """Hutchinson's estimate of the trace, which the paper used, with all of its samples."""
    forms = ProductForms([operator])
    return SampleMean(torch.stack([forms.quadratic_forms(v)[0] for v in _signs(operator, samples, seed)], dim=1))


def deflated(operator: HessianOperator, lanczos: Density, samples: int, seed: int) -> TraceEstimate:
    """The trace with the Lanczos basis as control variate, from the same vectors as :func:`hutchinson`."""
    estimator = traces.FAMILY.load("deflated")
    options = estimator.Options(name="deflated")
    control = estimator.control_variate(options, lanczos.first, _signs(operator, samples, seed))
    norms = lanczos.frobenius()[0][None]
    return estimator.estimate(
        options, _signs(operator, samples, seed), samples, ProductForms([operator]), [control], norms
    )


def _signs(operator: HessianOperator, count: int, seed: int) -> Iterator[Tensor]:
    """``count`` random vectors of entries ±1."""
    generator = torch.Generator().manual_seed(stream_seed("quadratic signs", seed))
    for _ in range(count):
        yield rademacher(operator.shape[1], operator, generator)


def distance(estimate: Density, exact: Exact) -> float:
    """Wasserstein-1 distance between an estimated and the exact spectrum, in the unit of the eigenvalues."""
    nodes, weights = estimate.nodes[0].numpy(), estimate.weights[0].numpy()
    used = weights > 0  # runs that ended early are filled up with weights of 0
    values = exact.eigenvalues
    return wasserstein(nodes[used], weights[used] / len(nodes), values, np.full(len(values), 1 / len(values)))
