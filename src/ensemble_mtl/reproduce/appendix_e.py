"""New 2022, Appendix E and Figure 7: the estimators on a quadratic loss whose Hessian is known.

L(x) = ½ xᵀAx with A = ½ (B + Bᵀ) and B of standard normal entries. The paper reports an exact trace of −30.33 and an
estimate of −29.24 from 500 samples. The standard error of such an estimate is about 44.7 for a 1,000 × 1,000 matrix
(√(2 Σ_{i≠j} A_ij² / n)), so a difference of 1.1 is luck; what must hold is a difference within three standard errors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.report.table import Cell, Table, fixed, signed
from ensemble_mtl.reproduce.base import Reproduced

if TYPE_CHECKING:
    from ensemble_mtl.curvature.lanczos import Density
    from ensemble_mtl.report import inputs, records
    from ensemble_mtl.report.figures import appendix_e as _figure
    from ensemble_mtl.reproduce import quadratic_loss
else:
    quadratic_loss = lazy_import("ensemble_mtl.reproduce.quadratic_loss")
    inputs = lazy_import("ensemble_mtl.report.inputs")
    records = lazy_import("ensemble_mtl.report.records")
    _figure = lazy_import("ensemble_mtl.report.figures.appendix_e")

SUMMARY = "New 2022, Appendix E: trace and spectral density of a known 1,000 × 1,000 Hessian."
LIMIT = 3.0
"""The largest deviation of the trace from the exact one that counts as agreement, in standard errors."""


class Options(registry.Options):
    """The size of the problem and of the estimates; the defaults are those of the paper, which names no seed."""

    name: Literal["appendix_e"] = "appendix_e"
    seed: int = Field(0, ge=0, description="Seed of the matrix and of the estimators' random vectors.")
    size: int = Field(1000, ge=10, le=10_000, description="Rows of the matrix.")
    samples: int = Field(500, ge=10, description="Random vectors for the trace.")
    steps: int = Field(100, ge=1, description="Steps of a Lanczos run.")
    starts: int = Field(1, ge=1, description="Lanczos runs; ‖A‖_F has an error from 2 on.")


@dataclass(frozen=True)
class Estimates:
    """The estimates beside the exact spectrum.

    Attributes:
        exact: the exact spectrum.
        densities: the name of an estimator to the spectral density that it gives.
        samples: Hutchinson's samples of the trace.
        published: the estimates by Hutchinson's estimator and Lanczos quadrature, which the paper used.
        deflated: the estimates by deflated forms of both, which treat the part in the Lanczos basis exactly.
    """

    exact: quadratic_loss.Exact
    densities: dict[str, Density]
    samples: tuple[float, ...]
    published: records.EstimatedHessian
    deflated: records.EstimatedHessian


def compute(options: Options) -> Reproduced:
    """Estimate from products with the Hessian of L, compare with the exact matrix, and draw the figure."""
    estimates = estimate(options)
    trace = estimates.published.trace
    deviation = abs(trace.value - estimates.exact.trace) / trace.sem
    agrees = deviation <= LIMIT
    where = "within" if agrees else "beyond"
    record = _record(options, estimates, agrees)
    return Reproduced(
        agrees=agrees,
        verdict=f"Hutchinson's trace is {deviation:.2f} standard errors from the exact one, {where} {LIMIT:g}",
        tables=(_table(record, options),),
        record=record,
        figure=_figure.of_record(record, inputs.WIDE),
    )


def estimate(options: Options) -> Estimates:
    """Trace, ends of the spectrum and norm by each of the estimators, and the exact ones."""
    matrix = quadratic_loss.symmetric_gaussian(options.size, options.seed)
    exact = quadratic_loss.Exact.of(matrix)
    operator = quadratic_loss.hessian(matrix, options.seed)
    quadrature, deflated = (
        quadratic_loss.density(name, operator, options.steps, options.starts, options.seed)
        for name in ("quadrature", "deflated")
    )
    hutchinson = quadratic_loss.hutchinson(operator, options.samples, options.seed)
    deflated_estimate = quadratic_loss.deflated(operator, deflated, options.samples, options.seed)
    published_trace = _trace(float(hutchinson.mean), float(hutchinson.sem), options.samples, exact.trace)
    deflated_trace = _trace(
        float(deflated_estimate.value), float(deflated_estimate.sem), int(deflated_estimate.samples), exact.trace
    )
    return Estimates(
        exact=exact,
        densities={"quadrature": quadrature, "deflated": deflated},
        samples=tuple(hutchinson.samples[0].tolist()),
        published=_hessian(published_trace, quadrature, exact),
        deflated=_hessian(deflated_trace, deflated, exact),
    )


def _trace(value: float, sem: float, samples: int, exact: float) -> records.TraceEstimate:
    """The record of an estimated trace, with its deviation from the ``exact`` one."""
    # a Lanczos basis of the whole space leaves nothing to estimate, and may leave no error
    deviation = (value - exact) / sem if sem else None
    return records.TraceEstimate(value=value, sem=sem, samples=samples, deviation=deviation)


def _hessian(trace: records.TraceEstimate, density: Density, exact: quadratic_loss.Exact) -> records.EstimatedHessian:
    """The record of an estimated trace and spectrum, with the distance of the latter from the ``exact`` one."""
    nodes = density.nodes[density.weights > 0]
    norm, sem, _ = density.frobenius()
    return records.EstimatedHessian(
        trace=trace,
        frobenius=float(norm),
        frobenius_sem=float(sem),
        eig_min=float(nodes.min()),
        eig_max=float(nodes.max()),
        wasserstein=quadratic_loss.distance(density, exact),
        products=density.num_products,
    )


def _table(record: records.AppendixERecord, options: Options) -> Table:
    exact, estimates = record.exact, (record.published, record.deflated)

    def row(name: str, value: float | None, values: Iterable[float], digits: int) -> tuple[Cell, ...]:
        exact_cell = Cell() if value is None else Cell(fixed(value, digits))
        return (Cell(name), exact_cell, *(Cell(fixed(estimate, digits)) for estimate in values))

    traces = [hessian.trace for hessian in estimates]
    rows = (
        row("trace", exact.trace, (trace.value for trace in traces), 2),
        (
            Cell("  standard error"),
            Cell(""),
            *(Cell(f"{trace.sem:.2f}", note=f"n = {trace.samples}") for trace in traces),
        ),
        (Cell("  deviation in them"), Cell(""), *(Cell(signed(trace.deviation)) for trace in traces)),
        row("smallest eigenvalue", exact.eig_min, (hessian.eig_min for hessian in estimates), 3),
        row("largest eigenvalue", exact.eig_max, (hessian.eig_max for hessian in estimates), 3),
        row("‖A‖_F", exact.frobenius, (hessian.frobenius for hessian in estimates), 2),
        row("W1 to the exact spectrum", None, (hessian.wasserstein for hessian in estimates), 4),
        (Cell("products for the spectrum"), Cell(""), *(Cell(str(hessian.products)) for hessian in estimates)),
    )
    caption = (
        f"L(x) = ½ xᵀAx with {options.size:,} variables. As published: Hutchinson's estimator of the trace, and "
        "Lanczos quadrature. Deflated: both with the Lanczos basis taken out, which serves spectra with outliers; a "
        "semicircle has none."
    )
    return Table("New 2022, Appendix E", caption, ("", "Exact", "As published", "Deflated"), rows)


def _record(options: Options, estimates: Estimates, agrees: bool) -> records.AppendixERecord:
    exact = estimates.exact
    return records.AppendixERecord(
        name=options.name,
        options=options.model_dump(exclude={"name"}),
        agrees=agrees,
        limit=LIMIT,
        exact=records.ExactHessian(
            trace=exact.trace,
            frobenius=exact.frobenius,
            eig_min=float(exact.eigenvalues[0]),
            eig_max=float(exact.eigenvalues[-1]),
        ),
        published=estimates.published,
        deflated=estimates.deflated,
        trace_samples=estimates.samples,
        spectra={name: _quadrature(density) for name, density in estimates.densities.items()},
        eigenvalues=tuple(exact.eigenvalues.tolist()),
    )


def _quadrature(density: Density) -> records.Quadrature:
    return records.Quadrature(
        nodes=tuple(map(tuple, density.nodes[0].tolist())), weights=tuple(map(tuple, density.weights[0].tolist()))
    )
