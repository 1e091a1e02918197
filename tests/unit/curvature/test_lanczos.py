"""Lanczos quadrature on matrices of known spectrum."""

from __future__ import annotations

import pytest
import torch
from helpers.tolerances import ROUNDING, close

from ensemble_mtl.curvature import lanczos
from ensemble_mtl.curvature.operator import DenseOperator


def with_spectrum(values: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """A dense symmetric matrix ``[P, P]`` with the eigenvalues ``values``."""
    a = torch.randn(len(values), len(values), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, _ = torch.linalg.qr(a)
    return (q * values) @ q.T


def outliers(size: int) -> torch.Tensor:
    """Eigenvalues like those of a trained network: a bulk near zero of both signs, and twelve large ones."""
    bulk = 1e-3 * torch.randn(size - 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.cat([bulk, torch.logspace(-1, 2, 12, dtype=torch.float64)])


def start_vector(size: int, members: int = 1) -> torch.Tensor:
    start = torch.randn(1, size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return start.expand(members, size)


def test_a_full_basis_has_every_eigenvalue():
    values = torch.linspace(-2, 5, 20, dtype=torch.float64)
    run = lanczos.tridiagonalize(DenseOperator(with_spectrum(values)[None]), start_vector(20), 20)
    nodes, weights = lanczos.quadrature(run)
    close(nodes[0], values, rtol=1e-9)  # rounding grows over twenty steps
    close(weights.sum(1), torch.ones(1, dtype=torch.float64), rtol=ROUNDING)


@pytest.mark.parametrize("steps", [1, 2, 5, 9])
def test_moments_are_exact_up_to_degree_two_k_minus_one(steps):
    values = torch.linspace(-1, 1, 30, dtype=torch.float64)
    matrix, start = with_spectrum(values), start_vector(30)
    run = lanczos.tridiagonalize(DenseOperator(matrix[None]), start, steps)
    nodes, weights = lanczos.quadrature(run)
    v = start[0] / start[0].norm()
    power = v
    for degree in range(2 * steps):
        close((weights[0] * nodes[0] ** degree).sum(), v @ power, rtol=ROUNDING)
        power = matrix @ power
    beyond = (weights[0] * nodes[0] ** (2 * steps)).sum() - v @ power
    assert beyond.abs() > 1e-9  # the first moment that is not exact is of degree 2K


def test_outliers_converge_first():
    values = outliers(300)
    run = lanczos.tridiagonalize(DenseOperator(with_spectrum(values)[None]), start_vector(300), 60)
    nodes, _ = lanczos.quadrature(run)
    close(nodes[0].sort().values[-12:], values.sort().values[-12:], rtol=1e-9)


def test_float32_basis_stays_orthogonal_over_a_hundred_steps():
    values = outliers(600)
    operator = DenseOperator(with_spectrum(values).float()[None])
    run = lanczos.tridiagonalize(operator, start_vector(600), 100)
    assert run.orthogonality.item() < 1e-5
    nodes, _ = lanczos.quadrature(run)
    large = nodes[0][nodes[0] > 0.05]
    assert len(large) == 12  # no ghost copies
    close(large.sort().values, values.sort().values[-12:], rtol=1e-5)  # float32 products


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
def test_a_low_rank_ends_early(dtype, scale):
    values = scale * torch.cat([torch.zeros(37), torch.tensor([-1.0, 2.0, 5.0])]).double()
    matrix = with_spectrum(values).to(dtype)[None]
    run = lanczos.tridiagonalize(DenseOperator(matrix), start_vector(40), 15)
    nodes, weights = lanczos.quadrature(run)
    assert run.steps.item() == 4
    close(nodes[0, :4], scale * torch.tensor([-1.0, 0.0, 2.0, 5.0]).double(), atol=scale * 1e-4, rtol=1e-5)
    assert nodes[0, 4:].isnan().all()
    assert not weights[0, 4:].any()
    close(weights.sum(1), torch.ones(1, dtype=torch.float64), rtol=ROUNDING)


def test_the_zero_matrix_has_its_only_eigenvalue():
    run = lanczos.tridiagonalize(DenseOperator(torch.zeros(1, 6, 6)), start_vector(6), 4)
    nodes, weights = lanczos.quadrature(run)
    assert run.steps.item() == 1
    assert (nodes[0, 0].item(), weights[0, 0].item()) == (0.0, pytest.approx(1.0))


@pytest.mark.parametrize("size", [1, 3])
def test_more_steps_than_parameters_are_cut(size):
    values = torch.arange(1.0, size + 1, dtype=torch.float64)
    run = lanczos.tridiagonalize(DenseOperator(with_spectrum(values)[None]), start_vector(size), 10)
    nodes, weights = lanczos.quadrature(run)
    close(nodes[0], values, rtol=1e-9)
    close(weights.sum(1), torch.ones(1, dtype=torch.float64), rtol=ROUNDING)


def test_members_at_once_equal_one_by_one_even_if_one_ends_early():
    size = 30
    spectra = [outliers(size), torch.cat([torch.zeros(28), torch.tensor([1.0, 2.0])]).double(), torch.zeros(size)]
    matrices = torch.stack([with_spectrum(values.double(), seed) for seed, values in enumerate(spectra)])
    together = lanczos.density(DenseOperator(matrices), 8, 2, torch.Generator().manual_seed(0))
    for m in range(3):
        alone = lanczos.density(DenseOperator(matrices[m : m + 1]), 8, 2, torch.Generator().manual_seed(0))
        close(together.nodes[m], alone.nodes[0], rtol=1e-9)  # eight steps amplify rounding
        close(together.weights[m], alone.weights[0], rtol=1e-9)


def test_a_member_of_nan_disturbs_no_other():
    matrices = torch.stack([torch.full((9, 9), float("nan")).double(), torch.eye(9).double()])
    density = lanczos.density(DenseOperator(matrices), 5, 1, torch.Generator().manual_seed(0))
    assert density.nodes[0].isnan().all()
    assert density.weights[0].isnan().all()
    assert density.nodes[1, 0, 0].item() == pytest.approx(1.0)
    assert density.weights[1].sum().item() == pytest.approx(1.0)


def test_starts_average_to_the_density():
    """The mean of Σ w f(θ) over starts is (1/P) tr f(A); 40 starts in 200 dimensions have an error of 1 %."""
    values = torch.linspace(0, 1, 200, dtype=torch.float64)
    density = lanczos.density(DenseOperator(with_spectrum(values)[None]), 10, 40, torch.Generator().manual_seed(0))
    estimate = (density.weights * density.nodes.exp()).sum(2).mean()
    close(estimate, values.exp().mean(), rtol=0.02)
    assert density.orthogonality.item() < 1e-12
