"""Means of vᵀAv over random signs, which are Hutchinson's estimate of the trace, and their standard errors."""

from __future__ import annotations

import pytest
import torch
from helpers.matrices import signs
from helpers.tolerances import ROUNDING, close

from ensemble_mtl.curvature.forms.quadratic import ProductForms
from ensemble_mtl.curvature.operator import DenseOperator
from ensemble_mtl.curvature.sampling import SampleMean, rademacher


def symmetric(members: int, size: int, seed: int = 0) -> torch.Tensor:
    a = torch.randn(members, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return a + a.mT


def traces(matrices: torch.Tensor, count: int, seed: int = 1) -> SampleMean:
    operator = DenseOperator(matrices)
    forms = ProductForms([operator])
    return SampleMean(torch.stack([forms.quadratic_forms(v)[0] for v in signs(operator, count, seed)], dim=1))


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e15])
def test_exact_for_diagonal_matrices(scale):
    diagonal = scale * torch.linspace(-1, 3, 2 * 30, dtype=torch.float64).view(2, 30)
    found = traces(torch.diag_embed(diagonal), 5)
    close(found.mean, diagonal.sum(1), rtol=ROUNDING, atol=0.0)
    assert (found.sem <= ROUNDING * scale * 30).all()


def test_within_its_standard_error():
    """Of 60 estimates, some 95 % lie within two standard errors and none beyond five."""
    matrices = symmetric(60, 25)
    found = [traces(matrix[None], 60, seed) for seed, matrix in enumerate(matrices)]
    z = torch.cat([f.mean - m.trace() for f, m in zip(found, matrices, strict=True)]) / torch.cat(
        [f.sem for f in found]
    )
    assert (z.abs() < 2).double().mean() > 0.85
    assert z.abs().max() < 5


def test_standard_error_has_its_closed_form():
    """Variance per sample 2 Σ_{i≠j} A_ij²; 4,000 samples know it to some 3 %."""
    matrices = symmetric(2, 12)
    off = matrices - torch.diag_embed(matrices.diagonal(dim1=1, dim2=2))
    expected = (2 * off.square().sum((1, 2)) / 4000).sqrt()
    close(traces(matrices, 4000).sem, expected, rtol=0.1)


def test_a_single_sample_admits_that_it_knows_no_error():
    assert traces(symmetric(2, 4), 1).sem.isinf().all()


def test_members_at_once_equal_one_by_one():
    matrices = symmetric(3, 10)
    together = traces(matrices, 7)
    for m in range(3):
        close(together.samples[m], traces(matrices[m : m + 1], 7).samples[0], rtol=ROUNDING)


def test_float32_products_are_summed_in_float64():
    assert traces(symmetric(1, 50).float(), 3).samples.dtype == torch.float64


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000])
def test_signs_are_signs_and_as_many_as_asked_for(size):
    found = rademacher(size, torch.zeros(1, dtype=torch.float32), torch.Generator().manual_seed(size))
    assert (found.shape, found.dtype) == ((1, size), torch.float32)
    assert (found.abs() == 1).all()
    assert size < 1000 or abs(found.mean()) < 5 / size**0.5
