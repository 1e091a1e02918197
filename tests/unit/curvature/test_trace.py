"""Estimators of the trace on matrices of known spectrum."""

from __future__ import annotations

import pytest
import torch
from helpers.matrices import WithExactPart, density_of, krylov_of, norm_of, signs, trace_of, trained, with_spectrum
from helpers.tolerances import ROUNDING, close
from scipy import stats

from ensemble_mtl.config import registry
from ensemble_mtl.curvature.operator import DenseOperator
from ensemble_mtl.curvature.trace.stopping import spread

ESTIMATORS = registry.names("curvature.trace")


def z(trace, matrices: torch.Tensor) -> torch.Tensor:
    """Errors of the estimates, in standard errors."""
    return (trace.value[0] - matrices.diagonal(dim1=1, dim2=2).sum(1)) / trace.sem[0]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_each_estimates_the_trace_within_its_error(estimator):
    operator = DenseOperator(with_spectrum(trained(300)))
    trace = trace_of(operator, estimator, krylov_of(operator, 20), 60)
    assert z(trace, operator.matrices).abs().item() < 4
    assert trace.sem.item() > 0


@pytest.mark.parametrize("steps", [5, 12, 40])
def test_control_variate_of_the_basis_is_exact(steps):
    """Of tr T + vᵀ(I − QQᵀ)A(I − QQᵀ)v both terms are exact, the second from vᵀAv."""
    operator = DenseOperator(with_spectrum(trained(80)))
    krylov = krylov_of(operator, steps)
    deflated = registry.family("curvature.trace").load("deflated")
    control = deflated.control_variate(deflated.Options(), krylov, signs(operator, 6))
    q, a = krylov.basis[0], operator.matrices[0]
    close(control.expectation[0], (q @ a @ q.T).trace(), rtol=ROUNDING)
    for index, v in enumerate(signs(operator, 6)):
        projected = v[0] - q.T @ (q @ v[0])
        form = v[0] @ a @ v[0] - control.values[0, index]
        close(form, projected @ a @ projected, rtol=1e-11)  # vᵀAv is a hundred times larger


def test_standard_error_has_its_closed_form():
    """The variance of a sample is 2 (‖B‖_F² − Σ B_ii²), with B the compression to the complement of the basis.

    3,000 samples have an error of 1.3 % in the standard error.
    """
    operator = DenseOperator(with_spectrum(trained(60)))
    krylov = krylov_of(operator, 10)
    projector = torch.eye(60).double() - krylov.basis[0].T @ krylov.basis[0]
    compressed = projector @ operator.matrices[0] @ projector
    expected = (2 * (compressed.square().sum() - compressed.diagonal().square().sum()) / 3000).sqrt()
    deflated = trace_of(operator, "deflated", krylov, 3000, pilot=3000, relative_error=0.0, norm_error=0.0)
    assert deflated.samples.item() == 3000
    close(deflated.sem[0, 0], expected, rtol=0.05)
    plain = trace_of(operator, "hutchinson", krylov, 3000)
    assert plain.sem.item() > 20 * deflated.sem.item()


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
    """Intervals of 95 % contain the trace in 93 to 97 % of the repetitions.

    This share has an error of 1.1 % in 400 repetitions, and of 0.8 % in 800, which a short pilot needs.
    """
    operator = DenseOperator(with_spectrum(values))
    krylov, exact = krylov_of(operator, 20), values.double().sum().item()
    inside, samples, repetitions = 0, set(), 800 if "pilot" in options else 400
    for seed in range(repetitions):
        trace = trace_of(operator, estimator, krylov, 40, seed, **options)
        samples.add(trace.samples.item())
        inside += abs(trace.value.item() - exact) < stats.t.ppf(0.975, trace.degrees.item()) * trace.sem.item()
    assert 0.93 <= inside / repetitions <= 0.97
    assert len(samples) > 5 or not options.get("relative_error")  # the error decided where it stopped


def with_exact_part(size: int, scale: float = 3.0, cost: float = 0.0) -> tuple[DenseOperator, WithExactPart]:
    """A small bulk of both signs plus a part of four directions, whose exact trace is about 8 ``scale``² ``size``."""
    rows = scale * torch.randn(1, 4, size, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    operator = DenseOperator(with_spectrum(torch.linspace(-1, 1.5, size)) + 2 * rows.mT @ rows)
    return operator, WithExactPart(operator, rows, cost)


@pytest.mark.parametrize("error", [2e-4, 1e-9])
def test_intervals_with_an_exact_part_cover_what_they_say(error):
    """Intervals of 95 % contain the trace, although each repetition decides anew whether to use the exact part."""
    operator, forms = with_exact_part(60)
    krylov, exact = krylov_of(operator, 1), operator.matrices.diagonal(dim1=1, dim2=2).sum().item()
    inside = 0
    for seed in range(400):
        trace = trace_of(operator, "gauss_newton", krylov, 30, seed, forms, relative_error=error, norm_error=0.0)
        inside += abs(trace.value.item() - exact) < stats.t.ppf(0.975, trace.degrees.item()) * trace.sem.item()
    assert 0.93 <= inside / 400 <= 0.97
    assert forms.num_traces == 400


def test_an_exact_part_is_used_where_it_is_worth_its_trace():
    operator, forms = with_exact_part(60)
    krylov = krylov_of(operator, 1)
    plain = trace_of(operator, "hutchinson", krylov, 500)
    controlled = trace_of(operator, "gauss_newton", krylov, 500, 0, forms)
    assert forms.num_traces == 1
    assert controlled.samples.item() < plain.samples.item() / 5
    for cost in (1000.0, float("inf")):
        operator, forms = with_exact_part(60, cost=cost)
        uncontrolled = trace_of(operator, "gauss_newton", krylov, 500, 0, forms)
        assert forms.num_traces == 0
        assert uncontrolled.samples.item() > plain.samples.item() / 3
    operator, forms = with_exact_part(60, scale=0.001, cost=1.0)
    trace_of(operator, "gauss_newton", krylov, 500, 0, forms)
    assert forms.num_traces == 0


@pytest.mark.parametrize(("scale", "num_traces"), [(1.0, 0), (1e-9, 1)])
def test_an_exact_part_is_of_no_use_where_another_task_needs_as_many_samples(scale, num_traces):
    """One pass gives the forms of all tasks, so that the task with the most samples decides."""
    operator, forms = with_exact_part(60)
    second_task = DenseOperator(scale * with_spectrum(torch.linspace(-1, 1, 60)))
    forms = WithExactPart(operator, forms.rows, 1.0, second_task)
    norms = torch.stack([norm_of(operator), torch.ones(1)])
    module = registry.family("curvature.trace").load("gauss_newton")
    options = module.Options(relative_error=0.0, norm_error=0.01)
    nothing = [module.control_variate(options, krylov_of(operator, 1), [])] * 2
    trace = module.estimate(options, signs(operator, 200, 0), 200, forms, nothing, norms)
    assert forms.num_traces == num_traces
    assert bool(trace.samples[0] < 50) == bool(num_traces)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_it_stops_where_the_error_is_as_small_as_asked(scale):
    operator = DenseOperator(scale * with_spectrum(trained(100)))
    krylov = krylov_of(operator, 20)
    errors = (0.1, 1e-3, 2e-4)
    traces = [trace_of(operator, "deflated", krylov, 500, relative_error=error, norm_error=0.0) for error in errors]
    exact = operator.matrices.diagonal(dim1=1, dim2=2).sum().item()
    assert traces[0].samples.item() == 20
    assert traces[0].samples <= traces[1].samples < traces[2].samples
    for trace, error in zip(traces, errors, strict=True):
        assert trace.sem.item() <= 1.1 * error * exact
        assert trace.degrees.item() >= 19


def test_the_norm_decides_where_the_trace_is_nearly_zero():
    values = torch.cat([trained(100), -trained(100)])
    operator = DenseOperator(with_spectrum(values))
    trace = trace_of(operator, "deflated", krylov_of(operator, 40), 2000)
    assert abs(trace.value.item()) < 5 * trace.sem.item()
    assert trace.sem.item() <= 0.0021 * values.norm().item()
    assert trace.samples.item() < 2000


def test_remaining_outliers_do_not_make_the_interval_too_narrow():
    """One outlier dominates the forms, which are distributed like a squared normal: a pilot of 20 may miss its tail.

    Of 150 samples of that distribution, a t interval covers the mean in 94 %.
    """
    operator = DenseOperator(with_spectrum(torch.cat([torch.full((59,), 1e-3), torch.tensor([10.0])])))
    krylov, exact, inside = krylov_of(operator, 1), 10.059, 0
    for seed in range(400):
        trace = trace_of(operator, "gauss_newton", krylov, 150, seed, relative_error=0.01, norm_error=0.0)
        inside += abs(trace.value.item() - exact) < stats.t.ppf(0.975, trace.degrees.item()) * trace.sem.item()
    assert inside / 400 >= 0.91  # 0.94 less three of its standard errors


def test_deflated_takes_no_more_vectors_than_its_options_allow():
    operator = DenseOperator(with_spectrum(trained(60)))
    module, krylov = registry.family("curvature.trace").load("deflated"), krylov_of(operator, 10)
    taken = []
    control = module.control_variate(
        module.Options(max_samples=7), krylov, (taken.append(1) or v for v in signs(operator, 500))
    )
    assert (control.values.shape, len(taken)) == ((1, 7), 7)
    trace = trace_of(operator, "deflated", krylov, 500, max_samples=30, relative_error=1e-9)
    assert trace.samples.item() == 30


def test_deflation_takes_fewer_products_than_plain_sampling_for_the_same_error():
    operator = DenseOperator(with_spectrum(trained(400)))
    plain = trace_of(operator, "hutchinson", krylov_of(operator, 1), 500)
    deflated = trace_of(operator, "deflated", krylov_of(operator, 30), 500)
    assert deflated.sem.item() < plain.sem.item()
    assert 30 + deflated.samples.item() <= 500 / 10


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    "values",
    [torch.zeros(9), torch.tensor([3.0] + [0.0] * 8), torch.full((9,), -2.0), torch.tensor([-4.0, 1.0, 1.0, 1.0]),
     torch.tensor([5.0])],
    ids=["zero", "rank one", "repeated", "negative", "one by one"],
)  # fmt: skip
def test_degenerate_matrices(estimator, values):
    operator = DenseOperator(with_spectrum(values))
    trace = trace_of(operator, estimator, krylov_of(operator, 30), 40)
    error = abs(trace.value.item() - values.sum().item())
    assert error <= 5 * trace.sem.item() + 1e-12
    if estimator == "deflated" and values.abs().sum() in (0.0, 3.0):
        assert error < 1e-12  # all eigenvectors with an eigenvalue other than 0 lie in the Krylov space


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_member_of_nan_disturbs_no_other(estimator):
    good = with_spectrum(trained(30))
    both = DenseOperator(torch.cat([torch.full_like(good, float("nan")), good]))
    alone = DenseOperator(good)
    trace = trace_of(both, estimator, krylov_of(both, 10), 30)
    expected = trace_of(alone, estimator, krylov_of(alone, 10), 30)
    assert trace.value[0, 0].isnan()
    assert trace.sem[0, 0].isnan()
    assert torch.equal(trace.value[0, 1], expected.value[0, 0])
    assert torch.equal(trace.sem[0, 1], expected.sem[0, 0])


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
        trace = trace_of(operator, estimator, density.first, 50)
        return [trace.value, trace.sem, trace.degrees, trace.samples]

    whole_stack = estimates([0, 1, 2, 3])
    for rows in ([0], [3], [1, 2], [3, 0, 1]):
        for value, expected in zip(estimates(rows), whole_stack, strict=True):
            assert torch.equal(value, expected[:, rows])


def test_spread_of_few_numbers():
    assert spread([1.0]) == (1.0, float("inf"))
    assert spread([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
