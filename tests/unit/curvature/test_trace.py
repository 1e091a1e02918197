"""Estimators of the trace on matrices of known spectrum."""

from __future__ import annotations

import pytest
import torch
from helpers.matrices import PartlyKnown, density_of, krylov_of, norm_of, signs, trace_of, trained, with_spectrum
from helpers.tolerances import ROUNDING, close
from scipy import stats

from ensemble_mtl.config import registry
from ensemble_mtl.curvature.operator import DenseOperator
from ensemble_mtl.curvature.trace.base import spread

ESTIMATORS = registry.names("curvature.trace")


def z(found, matrices: torch.Tensor) -> torch.Tensor:
    """Errors in standard errors."""
    return (found.value[0] - matrices.diagonal(dim1=1, dim2=2).sum(1)) / found.sem[0]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_each_finds_the_trace_within_its_error(estimator):
    operator = DenseOperator(with_spectrum(trained(300)))
    found = trace_of(operator, estimator, krylov_of(operator, 20), 60)
    assert z(found, operator.matrices).abs().item() < 4
    assert found.sem.item() > 0


@pytest.mark.parametrize("steps", [5, 12, 40])
def test_what_the_basis_knows_is_exact(steps):
    """tr T + vᵀ(I − QQᵀ)A(I − QQᵀ)v, from vᵀAv."""
    operator = DenseOperator(with_spectrum(trained(80)))
    krylov = krylov_of(operator, steps)
    deflated = registry.load("curvature.trace", "deflated")
    control = deflated.control(deflated.Options(), krylov, signs(operator, 6))
    q, a = krylov.basis[0], operator.matrices[0]
    close(control.known[0], (q @ a @ q.T).trace(), rtol=ROUNDING)
    for index, v in enumerate(signs(operator, 6)):
        rest = v[0] - q.T @ (q @ v[0])
        close(v[0] @ a @ v[0] - control.shares[0, index], rest @ a @ rest, rtol=1e-11)  # v'Av is a hundred times larger


def test_standard_error_has_its_closed_form():
    """Per sample 2 (‖B‖_F² − Σ B_ii²), B the compression to the complement; 3,000 samples know it to 1.3 %."""
    operator = DenseOperator(with_spectrum(trained(60)))
    krylov = krylov_of(operator, 10)
    projector = torch.eye(60).double() - krylov.basis[0].T @ krylov.basis[0]
    rest = projector @ operator.matrices[0] @ projector
    expected = (2 * (rest.square().sum() - rest.diagonal().square().sum()) / 3000).sqrt()
    found = trace_of(operator, "deflated", krylov, 3000, pilot=3000, relative_error=0.0, norm_error=0.0)
    assert found.samples.item() == 3000
    close(found.sem[0, 0], expected, rtol=0.05)
    plain = trace_of(operator, "hutchinson", krylov, 3000)
    assert plain.sem.item() > 20 * found.sem.item()


@pytest.mark.parametrize(
    ("estimator", "values", "options"),
    [
        ("hutchinson", torch.linspace(-1, 2, 60), {}),
        ("deflated", trained(60), {}),
        ("deflated", trained(60), {"relative_error": 2e-4, "norm_error": 0.0}),
        ("deflated", trained(60) - 0.5, {"pilot": 5, "relative_error": 5e-4, "norm_error": 0.0}),
        ("deflated", trained(60), {"relative_error": 0.0, "norm_error": 0.0}),
        ("deflated", torch.linspace(-1, 1.1, 60), {"norm_error": 0.05}),
    ],
)
def test_intervals_cover_what_they_say(estimator, values, options):
    """Stated 95 % intervals contain the trace in 93 to 97 % of 800 repetitions (their own error: 0.8 %)."""
    operator = DenseOperator(with_spectrum(values))
    krylov, exact = krylov_of(operator, 20), values.double().sum().item()
    inside, samples = 0, set()
    for seed in range(800):
        found = trace_of(operator, estimator, krylov, 40, seed, **options)
        samples.add(found.samples.item())
        inside += abs(found.value.item() - exact) < stats.t.ppf(0.975, found.degrees.item()) * found.sem.item()
    assert 0.93 <= inside / 800 <= 0.97
    assert len(samples) > 5 or not options.get("relative_error")  # it did stop by its own error


def partly_known(size: int, known: float = 3.0, cost: float = 0.0) -> tuple[DenseOperator, PartlyKnown]:
    """A small bulk of both signs and a known part of four directions, whose trace is about 8 ``known``² ``size``."""
    rows = known * torch.randn(1, 4, size, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    operator = DenseOperator(with_spectrum(torch.linspace(-1, 1.5, size)) + 2 * rows.mT @ rows)
    return operator, PartlyKnown(operator, rows, cost)


@pytest.mark.parametrize("error", [2e-4, 1e-9])
def test_intervals_with_a_known_part_cover_what_they_say(error):
    """As above; whether the known part is used, each repetition decides anew."""
    operator, forms = partly_known(60)
    krylov, exact = krylov_of(operator, 1), operator.matrices.diagonal(dim1=1, dim2=2).sum().item()
    inside = 0
    for seed in range(800):
        found = trace_of(operator, "gauss_newton", krylov, 30, seed, forms, relative_error=error, norm_error=0.0)
        inside += abs(found.value.item() - exact) < stats.t.ppf(0.975, found.degrees.item()) * found.sem.item()
    assert 0.93 <= inside / 800 <= 0.97
    assert forms.asked == 800


def test_a_known_part_is_used_where_it_is_worth_its_trace():
    plain = trace_of(*(partly_known(60)[:1]), "hutchinson", krylov_of(partly_known(60)[0], 1), 500)
    operator, forms = partly_known(60)
    krylov = krylov_of(operator, 1)
    found = trace_of(operator, "gauss_newton", krylov, 500, 0, forms)
    assert forms.asked == 1
    assert found.samples.item() < plain.samples.item() / 5
    for cost in (1000.0, float("inf")):
        operator, forms = partly_known(60, cost=cost)
        dear = trace_of(operator, "gauss_newton", krylov, 500, 0, forms)
        assert forms.asked == 0
        assert dear.samples.item() > plain.samples.item() / 3
    operator, forms = partly_known(60, known=0.001, cost=1.0)
    trace_of(operator, "gauss_newton", krylov, 500, 0, forms)
    assert forms.asked == 0


@pytest.mark.parametrize(("scale", "asked"), [(1.0, 0), (1e-9, 1)])
def test_a_known_part_is_of_no_use_where_another_task_needs_as_many_samples(scale, asked):
    """One pass gives the forms of all tasks."""
    operator, forms = partly_known(60)
    other = DenseOperator(scale * with_spectrum(torch.linspace(-1, 1, 60)))
    forms = PartlyKnown(operator, forms.rows, 1.0, other)
    norms = torch.stack([norm_of(operator), torch.ones(1)])
    module = registry.load("curvature.trace", "gauss_newton")
    options = module.Options(relative_error=0.0, norm_error=0.01)
    nothing = [module.control(options, krylov_of(operator, 1), [])] * 2
    found = module.estimate(options, signs(operator, 200, 0), 200, forms, nothing, norms)
    assert forms.asked == asked
    assert bool(found.samples[0] < 50) == bool(asked)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_it_stops_where_the_error_is_as_small_as_asked(scale):
    operator = DenseOperator(scale * with_spectrum(trained(100)))
    krylov = krylov_of(operator, 20)
    found = [
        trace_of(operator, "deflated", krylov, 500, relative_error=error, norm_error=0.0) for error in (0.1, 1e-3, 2e-4)
    ]
    exact = operator.matrices.diagonal(dim1=1, dim2=2).sum().item()
    assert [one.samples.item() for one in found[:1]] == [20]
    assert found[0].samples <= found[1].samples < found[2].samples
    for one, error in zip(found, (0.1, 1e-3, 2e-4), strict=True):
        assert one.sem.item() <= 1.1 * error * exact
        assert one.degrees.item() >= 19


def test_a_trace_of_nearly_nothing_is_judged_by_the_norm():
    values = torch.cat([trained(100), -trained(100)])
    operator = DenseOperator(with_spectrum(values))
    found = trace_of(operator, "deflated", krylov_of(operator, 40), 2000)
    assert abs(found.value.item()) < 5 * found.sem.item()
    assert found.sem.item() <= 0.0021 * values.norm().item()
    assert found.samples.item() < 2000


def test_outliers_that_are_left_do_not_make_the_interval_too_narrow():
    """One dominates the forms, which are then like a squared normal: a pilot of 20 may well miss its tail. Of 150
    samples of that law a t interval itself covers 94 %."""
    operator = DenseOperator(with_spectrum(torch.cat([torch.full((59,), 1e-3), torch.tensor([10.0])])))
    krylov, exact, inside = krylov_of(operator, 1), 10.059, 0
    for seed in range(400):
        found = trace_of(operator, "gauss_newton", krylov, 150, seed, relative_error=0.01, norm_error=0.0)
        inside += abs(found.value.item() - exact) < stats.t.ppf(0.975, found.degrees.item()) * found.sem.item()
    assert inside / 400 >= 0.91  # 0.94 less three of its standard errors


def test_deflated_looks_at_no_more_vectors_than_it_may():
    operator = DenseOperator(with_spectrum(trained(60)))
    module, krylov = registry.load("curvature.trace", "deflated"), krylov_of(operator, 10)
    taken = []
    control = module.control(
        module.Options(max_samples=7), krylov, (taken.append(1) or v for v in signs(operator, 500))
    )
    assert (control.shares.shape, len(taken)) == ((1, 7), 7)
    found = trace_of(operator, "deflated", krylov, 500, max_samples=30, relative_error=1e-9)
    assert found.samples.item() == 30


def test_it_spends_less_than_plain_sampling_for_the_same_error():
    operator = DenseOperator(with_spectrum(trained(400)))
    plain = trace_of(operator, "hutchinson", krylov_of(operator, 1), 500)
    found = trace_of(operator, "deflated", krylov_of(operator, 30), 500)
    assert found.sem.item() < plain.sem.item()
    assert 30 + found.samples.item() <= 500 / 10


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    "values",
    [torch.zeros(9), torch.tensor([3.0] + [0.0] * 8), torch.full((9,), -2.0), torch.tensor([-4.0, 1.0, 1.0, 1.0]),
     torch.tensor([5.0])],
    ids=["zero", "rank one", "repeated", "negative", "one by one"],
)  # fmt: skip
def test_degenerate_matrices(estimator, values):
    operator = DenseOperator(with_spectrum(values))
    found = trace_of(operator, estimator, krylov_of(operator, 30), 40)
    error = abs(found.value.item() - values.sum().item())
    assert error <= 5 * found.sem.item() + 1e-12
    if estimator == "deflated" and values.abs().sum() in (0.0, 3.0):
        assert error < 1e-12  # all that there is lies in the Krylov space


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_member_of_nan_disturbs_no_other(estimator):
    good = with_spectrum(trained(30))
    both = DenseOperator(torch.cat([torch.full_like(good, float("nan")), good]))
    alone = DenseOperator(good)
    found = trace_of(both, estimator, krylov_of(both, 10), 30)
    expected = trace_of(alone, estimator, krylov_of(alone, 10), 30)
    assert found.value[0, 0].isnan()
    assert found.sem[0, 0].isnan()
    assert torch.equal(found.value[0, 1], expected.value[0, 0])
    assert torch.equal(found.sem[0, 1], expected.sem[0, 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 7, 33, 200])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_member_is_the_same_in_any_stack(estimator, size, dtype):
    """Members stop at different numbers of samples."""
    spectra = [trained(212)[-size:], torch.linspace(-1, 1, size), torch.zeros(size), trained(212, 3)[-size:] - 0.3]
    matrices = torch.cat([with_spectrum(values, seed) for seed, values in enumerate(spectra)]).to(dtype)

    def estimates(rows: list[int]) -> list[torch.Tensor]:
        operator = DenseOperator(matrices[rows])
        density = density_of(operator, "deflated", 6, 2, steps=5)
        found = trace_of(operator, estimator, density.first, 50)
        return [found.value, found.sem, found.degrees, found.samples]

    expected = estimates([0, 1, 2, 3])
    for rows in ([0], [3], [1, 2], [3, 0, 1]):
        for ours, theirs in zip(estimates(rows), expected, strict=True):
            assert torch.equal(ours, theirs[:, rows])


def test_spread_of_few_numbers():
    assert spread([1.0]) == (1.0, float("inf"))
    assert spread([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
