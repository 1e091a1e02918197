"""New 2022, Appendix E: estimates of a known Hessian, and what is known of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import call
from helpers.tolerances import ROUNDING, close

from ensemble_mtl.analysis import json_model
from ensemble_mtl.report.figures import appendix_e as figure
from ensemble_mtl.report.records import AppendixERecord
from ensemble_mtl.reproduce import appendix_e, quadratic_loss
from ensemble_mtl.reproduce.base import Reproduced

SMALL = ("--size", 60, "--samples", 20, "--steps", 15)


@pytest.fixture(scope="module")
def published() -> Reproduced:
    return appendix_e.compute(appendix_e.Options())


def record_of(reproduced: Reproduced) -> AppendixERecord:
    assert isinstance(reproduced.record, AppendixERecord)
    return reproduced.record


def test_the_exact_figures_are_numpy_s(published: Reproduced) -> None:
    matrix = quadratic_loss.symmetric_gaussian(1000, 0).numpy()
    assert np.array_equal(matrix, matrix.T)
    # ½ (B + Bᵀ): variance 1 on the diagonal, ½ off it; their estimates are off by √(2/1000) and √(4/1000²)
    assert np.var(np.diag(matrix)) == pytest.approx(1.0, rel=3 * 0.045)
    assert np.mean(matrix[np.triu_indices(1000, 1)] ** 2) == pytest.approx(0.5, rel=3 * 0.002)
    values = np.linalg.eigvalsh(matrix)
    record = record_of(published)
    exact = record.exact
    assert list(record.eigenvalues) == values.tolist()
    assert (exact.eig_min, exact.eig_max) == (values[0], values[-1])
    assert exact.trace == pytest.approx(values.sum(), abs=1e-9)  # eigenvalues round at 1e-13 of ‖A‖ each
    assert exact.frobenius == pytest.approx(np.linalg.norm(values), rel=1e-12)


def test_the_products_are_those_of_the_loss() -> None:
    matrix = quadratic_loss.symmetric_gaussian(40, 3)
    operator = quadratic_loss.hessian(matrix, 3)
    v = torch.randn(1, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    close(operator.matvec(v), v @ matrix, rtol=ROUNDING)


def test_the_trace_lies_within_three_standard_errors(published: Reproduced) -> None:
    record = record_of(published)
    found, exact = record.published.trace, record.exact.trace
    assert published.agrees
    assert abs(found.value - exact) <= 3 * found.sem
    assert found.deviation == (found.value - exact) / found.sem
    samples = np.array(record.trace_samples)
    assert found.value == pytest.approx(samples.mean(), rel=1e-9)
    assert len(samples) == found.samples == 500
    # 2 Σ_{i≠j} A_ij² / n, whose estimate from 500 samples has a relative standard error of 3 %
    matrix = quadratic_loss.symmetric_gaussian(1000, 0).numpy()
    variance = 2 * (np.square(matrix).sum() - np.square(np.diag(matrix)).sum())
    assert found.sem == pytest.approx(np.sqrt(variance / 500), rel=4 * 0.032)
    beside = record.deflated.trace
    assert abs(beside.value - exact) <= 4.3 * beside.sem  # 99.8 % of Student's t with 9 degrees of freedom


def test_the_deviation_is_measured_in_true_standard_errors() -> None:
    off = []
    for seed in range(60):
        matrix = quadratic_loss.symmetric_gaussian(40, seed)
        found = quadratic_loss.hutchinson(quadratic_loss.hessian(matrix, seed), 60, seed)
        off.append((float(found.mean) - float(matrix.trace())) / float(found.sem))
    assert abs(np.mean(off)) < 4 / 60**0.5
    assert 0.7 < np.std(off) < 1.4  # ± 4 standard errors of a standard deviation from 60


def test_the_spectrum_is_the_exact_one(published: Reproduced) -> None:
    record = record_of(published)
    exact = record.exact
    for found in (record.published, record.deflated):
        # three decimals, as in the paper
        assert (found.eig_min, found.eig_max) == pytest.approx((exact.eig_min, exact.eig_max), rel=0, abs=5e-4)
        assert found.wasserstein < 0.1 * np.abs(record.eigenvalues).mean()
    # a single start: ≈ √(1/1000) relative
    assert record.published.frobenius == pytest.approx(exact.frobenius, rel=0.1)
    assert record.published.frobenius_sem is None
    assert record.published.products == 100


def test_a_whole_krylov_space_is_exact() -> None:
    found = appendix_e.estimate(appendix_e.Options(size=12, samples=10, steps=12, starts=2))
    exact = found.exact
    assert found.deflated.trace.value == pytest.approx(exact.trace, abs=1e-11)
    assert found.deflated.wasserstein < 1e-11
    assert found.deflated.frobenius == pytest.approx(exact.frobenius, rel=1e-11)
    assert found.published.eig_max == pytest.approx(exact.eigenvalues[-1], rel=1e-11)


def test_the_running_mean_is_that_of_each_beginning() -> None:
    samples = np.random.default_rng(0).normal(7.0, 3.0, 50)
    mean, sem = figure.running(samples)
    for index, count in enumerate(range(2, 51)):
        first = samples[:count]
        assert mean[index] == pytest.approx(first.mean(), rel=1e-12)
        assert sem[index] == pytest.approx(first.std(ddof=1) / count**0.5, rel=1e-9)


def test_the_command_leaves_figure_and_numbers(tmp_path: Path) -> None:
    code, out, err = call("appendix-e", *SMALL, "--out", tmp_path / "a", "--png")
    assert (code, "agrees" in out) == (0, True), err
    assert {path.name for path in (tmp_path / "a").iterdir()} == {f"appendix-e.{end}" for end in ("svg", "png", "json")}
    code, told, _ = call("appendix-e", *SMALL, "--out", tmp_path / "b", "--json")
    assert code == 0
    written = (tmp_path / "b/appendix-e.json").read_text()
    assert json.loads(told) == json.loads(written)
    assert json_model.parse(written, AppendixERecord).model_dump(mode="json") == json.loads(written)
    assert json.loads(told)["options"] == {"seed": 0, "size": 60, "samples": 20, "steps": 15, "starts": 1}
    assert not (tmp_path / "b/appendix-e.png").exists()
    for name in ("appendix-e.svg", "appendix-e.json"):  # the same seed, the same bytes
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert "60 exact eigenvalues" in (tmp_path / "a/appendix-e.svg").read_text()


def test_a_wrong_hessian_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = quadratic_loss.hessian
    monkeypatch.setattr(
        quadratic_loss, "hessian", lambda a, seed: right(a + 5 * torch.eye(len(a), dtype=a.dtype), seed)
    )
    code, out, _ = call("appendix-e", *SMALL, "--out", tmp_path)
    assert code == 1
    assert "does not agree" in out
    assert json.loads((tmp_path / "appendix-e.json").read_text())["agrees"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["apendix-e"], "got 'apendix-e', expected one of appendix-e, table-1; did you mean 'appendix-e'?"),
        (["appendix-e", "--size", "3"], "--size: Input should be greater than or equal to 10, got 3"),
        (["appendix-e", "--samples", "many"], "'many' is not a valid integer"),
        (["appendix-e", "--seed", "-1"], "--seed"),
    ],
)
def test_wrong_options_are_refused(arguments: list[str], message: str) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert message in err
