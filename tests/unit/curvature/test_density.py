"""Estimators of the spectral density on matrices of known spectrum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.matrices import density_of, krylov_of, stream, trace_of, trained, with_spectrum
from helpers.tolerances import ROUNDING, close

from ensemble_mtl.config import registry
from ensemble_mtl.curvature import lanczos
from ensemble_mtl.curvature.leading import CONVERGED, leading_pairs
from ensemble_mtl.curvature.operator import DenseOperator
from ensemble_mtl.curvature.pairs import wasserstein

ESTIMATORS = registry.names("curvature.density")


def distance(density: lanczos.Density, values: torch.Tensor) -> float:
    """Wasserstein-1 distance to the exact spectrum, in units of the mean |λ|."""
    nodes, weights = density.nodes[0].numpy(), density.weights[0].numpy()
    present = weights > 0
    exact = values.double().numpy()
    estimate = nodes[present], weights[present] / len(nodes)
    return wasserstein(*estimate, exact, np.full(len(exact), 1 / len(exact))) / np.abs(exact).mean()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_run_is_a_density(estimator):
    density = density_of(DenseOperator(with_spectrum(trained(100))), estimator, 20, 3)
    close(density.weights.sum(2), torch.ones(1, 3).double(), rtol=ROUNDING)
    assert density.orthogonality.item() < 1e-12
    assert density.num_products == (60 if estimator == "quadrature" else 20 + 3 * 40)


def test_the_trace_is_kept_by_deflation():
    """tr A = tr T + E (P − K) qᵀAq over start vectors q in the complement, whose share is small here."""
    values = trained(200)
    density = density_of(DenseOperator(with_spectrum(values)), "deflated", 30, 5)
    traces = 200 * (density.weights * density.nodes).sum(2)[0]
    close(traces.mean(), values.sum(), rtol=0.01)
    assert traces.std() < 0.01 * values.sum()


def test_deflation_is_nearer_at_a_fifth_of_the_products():
    values = trained(400)
    operator = DenseOperator(with_spectrum(values))
    plain = density_of(operator, "quadrature", 60, 10)
    deflated = density_of(operator, "deflated", 40, 2, steps=30)
    assert plain.num_products / deflated.num_products == 6
    assert distance(deflated, values) < 0.1 * distance(plain, values)
    norm = values.norm().item()
    runs = density_of(operator, "deflated", 60, 3).frobenius()[2][0]
    assert (runs / norm - 1).abs().max() < 1e-3
    assert (plain.frobenius()[2][0] / norm - 1).abs().max() > 0.2


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_norm_lies_within_its_error(estimator):
    values = torch.linspace(-1, 1.5, 120, dtype=torch.float64)
    operator = DenseOperator(with_spectrum(values))
    errors = []
    for seed in range(40):
        norm, sem, runs = density_of(operator, estimator, 10, 6, seed).frobenius()
        errors.append((norm - values.norm()).item() / sem.item())
        close(norm, runs.square().mean(1).sqrt(), rtol=ROUNDING)
    assert abs(np.mean(errors)) < 4 / len(errors) ** 0.5 * 1.3  # Student's t of 5 degrees has the deviation 1.3
    assert 0.7 < np.std(errors) < 1.9


def test_a_single_run_has_an_infinite_error():
    assert density_of(DenseOperator(with_spectrum(trained(50))), "deflated", 5, 1).frobenius()[1].isinf().all()


def test_the_part_of_the_norm_that_is_missing_in_the_nodes_is_added():
    """With a full complement nothing is estimated: T, the complement and 2 β² are all of ‖A‖_F²."""
    values = torch.linspace(-1, 1.5, 20, dtype=torch.float64)
    operator = DenseOperator(with_spectrum(values))
    first = krylov_of(operator, 6)
    q = first.basis[0]
    projector = torch.eye(20).double() - q.T @ q
    inner = (first.matrix[0].square().sum() + (projector @ operator.matrices[0] @ projector).square().sum()).sqrt()
    close((inner**2 + 2 * first.coupling[0] ** 2).sqrt(), values.norm(), rtol=ROUNDING)


def test_runs_on_the_complement_are_orthogonal_to_the_first_basis():
    operator = DenseOperator(with_spectrum(trained(150)).float())
    first = krylov_of(operator, 40)
    run = lanczos.tridiagonalize(operator, lanczos.gaussian_start(operator, stream(1)), 40, first.basis)
    cross = first.basis[0].double() @ run.basis[0].double().T
    assert cross.abs().max() < 2e-6
    assert run.orthogonality.item() < 2e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_leading_pairs_have_the_residuals_that_they_state(dtype):
    values = trained(300)
    operator = DenseOperator(with_spectrum(values).to(dtype))
    leading = leading_pairs(krylov_of(operator, 40), 6)
    close(leading.values[0], values.sort(descending=True).values[:6], rtol=1e-6 if dtype == torch.float32 else ROUNDING)
    v = leading.vectors.to(torch.float64)
    residual = v @ operator.matrices.double() - leading.values[..., None] * v
    close(v.square().sum(2), torch.ones(1, 6).double(), rtol=1e-6)
    assert (residual.norm(dim=2) <= 2 * leading.residuals + 20 * torch.finfo(dtype).eps * 100).all()


def test_pairs_that_have_not_converged_are_left_out():
    operator = DenseOperator(with_spectrum(torch.linspace(-1, 1, 200)))
    without_outliers = leading_pairs(krylov_of(operator, 8), 5)
    assert without_outliers.values.isnan().all()
    assert not without_outliers.vectors.any()
    with_outliers = leading_pairs(krylov_of(DenseOperator(with_spectrum(trained(200))), 9), 9)
    converged = with_outliers.values.isfinite()
    assert 0 < converged.sum() < 9
    assert (with_outliers.residuals[converged] <= CONVERGED * with_outliers.values[converged].abs()).all()
    assert torch.equal(with_outliers.vectors.any(2), converged)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    "values",
    [torch.zeros(9), torch.tensor([3.0] + [0.0] * 8), torch.full((9,), -2.0), torch.tensor([-4.0, 1.0, 1.0, 1.0]),
     torch.tensor([5.0]), torch.arange(6.0)],
    ids=["zero", "rank one", "repeated", "negative", "one by one", "fewer than steps"],
)  # fmt: skip
def test_degenerate_matrices(estimator, values):
    density = density_of(DenseOperator(with_spectrum(values)), estimator, 30, 2)
    nodes, weights = density.nodes[0], density.weights[0]
    close(weights.sum(1), torch.ones(2).double(), rtol=ROUNDING)
    present = weights > 1e-12
    assert nodes[present].isfinite().all()
    nearest = (nodes[present][:, None] - values.double()[None]).abs().amin(1)
    assert nearest.max() < 1e-6
    if estimator == "deflated":
        close(density.frobenius()[0], values.double().norm()[None], rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 7, 33])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_member_is_the_same_in_any_stack(estimator, size, dtype):
    spectra = [trained(212)[-size:], torch.linspace(-1, 1, size), torch.zeros(size), trained(212, 3)[-size:] - 0.3]
    matrices = torch.cat([with_spectrum(values, seed) for seed, values in enumerate(spectra)]).to(dtype)

    def estimates(rows: list[int]) -> list[torch.Tensor]:
        density = density_of(DenseOperator(matrices[rows]), estimator, 6, 3)
        pairs = leading_pairs(density.first, 4)
        return [density.nodes, density.weights, density.orthogonality, *density.frobenius(), *vars(pairs).values()]

    whole_stack = estimates([0, 1, 2, 3])
    for rows in ([0], [3], [1, 2], [3, 0, 1]):
        for value, expected in zip(estimates(rows), whole_stack, strict=True):
            assert torch.equal(value.nan_to_num(nan=-7.0), expected[rows].nan_to_num(nan=-7.0))


def test_a_member_of_nan_disturbs_no_other():
    good = with_spectrum(trained(30))
    operator = DenseOperator(torch.cat([torch.full_like(good, float("nan")), good]))
    density = density_of(operator, "deflated", 8, 2)
    alone = density_of(DenseOperator(good), "deflated", 8, 2)
    assert density.weights[0].isnan().all()
    assert torch.equal(density.weights[1], alone.weights[0])
    pairs = leading_pairs(density.first, 3)
    assert pairs.values[0].isnan().all()
    assert pairs.values[1].isfinite().all()


def test_appendix_e():
    """The matrix of New 2022, appendix E: ½ (B + Bᵀ), with B 1000 x 1000 normal; 500 samples and 100 steps."""
    b = torch.randn(1000, 1000, generator=stream(7), dtype=torch.float64)
    operator = DenseOperator(((b + b.T) / 2)[None])
    values = torch.linalg.eigvalsh(operator.matrices[0])
    density = density_of(operator, "quadrature", 100, 1)
    plain = trace_of(operator, "hutchinson", density.first, 500)
    assert plain.sem.item() == pytest.approx(44.7, rel=0.1)
    assert abs(plain.value.item() - values.sum().item()) < 3 * plain.sem.item()
    close(density.nodes.amin((1, 2)), values[:1], atol=5e-4, rtol=0.0)
    close(density.nodes.amax((1, 2)), values[-1:], atol=5e-4, rtol=0.0)
    assert distance(density, values) < 0.1  # a semicircle has no outliers, so one start does
    deflated = density_of(operator, "deflated", 100, 3)
    close(deflated.frobenius()[0], values.norm()[None], rtol=0.03)  # no outliers: three runs have an error of 1.3 %
    trace = trace_of(operator, "deflated", deflated.first, 500)
    assert abs(trace.value.item() - values.sum().item()) < 3 * trace.sem.item()
