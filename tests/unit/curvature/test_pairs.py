"""Measures of how similar two tasks are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.matrices import density_of, with_spectrum
from helpers.tolerances import ROUNDING, close
from scipy import stats

from ensemble_mtl.curvature.operator import DenseOperator
from ensemble_mtl.curvature.pairs import (
    cosine,
    distance_errors,
    outlier_distance,
    overlap,
    spectral_distances,
    wasserstein,
)

ENDS = (torch.tensor([9.0, 5.0]), torch.tensor([4.0, -6.0]))


def test_cosine_of_gradients():
    a = torch.tensor([[1.0, 0.0, 0.0], [3.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
    b = torch.tensor([[0.0, 2.0, 0.0], [-6.0, -8.0, 0.0], [1.0, 0.0, 0.0]])
    close(cosine(a, b), torch.tensor([0.0, -1.0, float("nan")]).double(), rtol=ROUNDING)
    assert cosine(1e-30 * a[1:2], 1e-30 * a[1:2]).item() == pytest.approx(1.0, rel=1e-6)


def test_overlap_is_one_for_equal_spans_and_small_for_random_ones():
    generator = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(2, 400, 8, generator=generator, dtype=torch.float64))[0].mT
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))[0]
    close(overlap(q[:, :4], turn @ q[:, :4]), torch.ones(2).double(), rtol=ROUNDING)
    close(overlap(q[:, :4], q[:, 4:]), torch.zeros(2).double(), rtol=ROUNDING)
    assert overlap(q[:1], q[1:]).item() == pytest.approx(8 / 400, rel=0.5)


def test_overlap_compares_only_as_many_vectors_as_both_have():
    basis = torch.eye(6, dtype=torch.float64)[None]
    two, three = basis[:, :3].clone(), basis[:, :3]
    two[:, 2] = 0
    assert overlap(two, three).item() == 1.0
    assert overlap(two[:, [1, 0, 2]], basis[:, 1:4]).item() == 0.5
    assert overlap(torch.zeros_like(three), three).isnan().all()


def test_wasserstein_is_scipys():
    random = np.random.default_rng(0)
    for sizes in ((1, 1), (5, 3), (40, 60)):
        a, b = (random.normal(size=size) for size in sizes)
        p, q = (random.random(size) for size in sizes)
        expected = stats.wasserstein_distance(a, b, p, q)
        assert wasserstein(a, p / p.sum(), b, q / q.sum()) == pytest.approx(expected, rel=1e-12)


def spectrum(values: list[float]) -> tuple[np.ndarray, np.ndarray]:
    nodes = np.array([values, values, [*values[:-1], np.nan]])
    weights = np.full(nodes.shape, 1 / len(values))
    weights[2] = [1 / (len(values) - 1)] * (len(values) - 1) + [0.0]
    return nodes, weights


def test_distances_of_spectra():
    original, moved = spectrum([0.0, 1.0, 4.0]), spectrum([0.5, 1.5, 4.5])
    zero = {"wasserstein": 0.0, "energy_wasserstein": 0.0}
    assert spectral_distances(original, original) == pytest.approx(zero, abs=1e-15)
    assert spectral_distances(original, moved)["wasserstein"] == pytest.approx(0.5)
    scaled = spectrum([0.0, 3.0, 12.0])
    assert spectral_distances(original, scaled)["energy_wasserstein"] == pytest.approx(0.0, abs=1e-12)


def test_the_bulk_at_zero_has_no_energy():
    first, second = spectrum([1e-9] * 50 + [2.0, 3.0]), spectrum([-1e-9] * 90 + [2.0, 3.0])
    assert spectral_distances(first, second)["energy_wasserstein"] < 0.02


@pytest.mark.parametrize("broken", [spectrum([0.0, 0.0, 0.0]), (np.full((1, 3), np.nan), np.full((1, 3), np.nan))])
def test_what_cannot_be_compared_is_not_a_number(broken):
    distances = spectral_distances(broken, spectrum([0.0, 1.0, 2.0]))
    assert np.isnan(distances["energy_wasserstein"])


def test_distance_of_outliers_compares_as_many_of_each():
    nan = float("nan")
    first, second = np.array([-5.0, 3.0, 1.0]), np.array([4.0, -3.0, nan])
    # -5 and 3 against -3 and 4: they move by 2 and by 1
    assert outlier_distance(first, second) == pytest.approx(1.5)
    assert outlier_distance(first, first) == 0.0
    assert np.isnan(outlier_distance(first, np.full(2, nan)))


@pytest.mark.parametrize("estimator", ["quadrature", "deflated"])
def test_errors_of_distances_are_those_of_repetitions(estimator):
    """The error of 8 runs by the jackknife is the deviation of 20 repetitions.

    That deviation has an error of 16 %, and a jackknife is biased upward: the tolerance is three times 16 %.
    """
    operators = [DenseOperator(with_spectrum(torch.cat([torch.linspace(-1, 1, 60), end]))) for end in ENDS]
    values: dict[str, list[float]] = {}
    for seed in range(20):
        densities = [density_of(operator, estimator, 6, 8, seed) for operator in operators]
        spectra = [(density.nodes[0].numpy(), density.weights[0].numpy()) for density in densities]
        for name, value in {**spectral_distances(*spectra), **distance_errors(*spectra)}.items():
            values.setdefault(name, []).append(value)
    for name in ("wasserstein", "energy_wasserstein"):
        assert np.mean(values[f"{name}_sem"]) == pytest.approx(np.std(values[name], ddof=1), rel=0.5)


def test_a_single_run_has_no_error_of_a_distance():
    nodes, weights = (values[:1] for values in spectrum([0.0, 1.0, 4.0]))
    errors = distance_errors((nodes, weights), (2 * nodes, weights))
    assert set(errors) == {"wasserstein_sem", "energy_wasserstein_sem"}
    assert np.isnan(list(errors.values())).all()
