"""Traces and their standard errors."""

from __future__ import annotations

import pytest
import torch
from helpers.tolerances import ROUNDING, close

from ensemble_mtl.curvature import hutchinson
from ensemble_mtl.curvature.operator import DenseOperator


def symmetric(members: int, size: int, seed: int = 0) -> torch.Tensor:
    a = torch.randn(members, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return a + a.mT


def stream(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e15])
def test_exact_for_diagonal_matrices(scale):
    diagonal = scale * torch.linspace(-1, 3, 2 * 30, dtype=torch.float64).view(2, 30)
    found = hutchinson.trace(DenseOperator(torch.diag_embed(diagonal)), 5, stream())
    close(found.mean, diagonal.sum(1), rtol=ROUNDING, atol=0.0)
    assert (found.sem <= ROUNDING * scale * 30).all()


def test_within_its_standard_error():
    """Of 60 estimates, some 95 % lie within two standard errors and none beyond five."""
    matrices = symmetric(60, 25)
    operators = [DenseOperator(matrix[None]) for matrix in matrices]
    found = [hutchinson.trace(one, 60, stream(k)) for k, one in enumerate(operators)]
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
    close(hutchinson.trace(DenseOperator(matrices), 4000, stream()).sem, expected, rtol=0.1)


def test_a_single_sample_admits_that_it_knows_no_error():
    found = hutchinson.trace(DenseOperator(symmetric(2, 4)), 1, stream())
    assert found.sem.isinf().all()


def test_members_at_once_equal_one_by_one():
    matrices = symmetric(3, 10)
    together = hutchinson.trace(DenseOperator(matrices), 7, stream())
    for m in range(3):
        alone = hutchinson.trace(DenseOperator(matrices[m : m + 1]), 7, stream())
        close(together.samples[m], alone.samples[0], rtol=ROUNDING)


def test_float32_products_are_summed_in_float64():
    found = hutchinson.trace(DenseOperator(symmetric(1, 50).float()), 3, stream())
    assert found.samples.dtype == torch.float64
