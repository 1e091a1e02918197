"""New 2022, Appendix E and Figure 7: the estimators on a quadratic loss whose Hessian is known.

L(x) = ½ xᵀAx with A = ½ (B + Bᵀ) and B of standard normal entries. The paper reports an exact trace of −30.33 and an
estimate of −29.24 from 500 samples. The standard error of such an estimate is about 44.7 for a 1,000 × 1,000 matrix
(√(2 Σ_{i≠j} A_ij² / n)), so a difference of 1.1 is luck; what must hold is a difference within three standard errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.report.table import ABSENT, Cell, Table, signed
from ensemble_mtl.reproduce.base import Reproduced

if TYPE_CHECKING:
    from ensemble_mtl.curvature.hutchinson import TraceEstimate
    from ensemble_mtl.curvature.lanczos import Density
    from ensemble_mtl.report import inputs
    from ensemble_mtl.report.figures import appendix_e as _figure
    from ensemble_mtl.reproduce import quadratic_loss
else:
    quadratic_loss = lazy_import("ensemble_mtl.reproduce.quadratic_loss")
    inputs = lazy_import("ensemble_mtl.report.inputs")
    _figure = lazy_import("ensemble_mtl.report.figures.appendix_e")

SUMMARY = "New 2022, Appendix E: trace and spectral density of a known 1,000 × 1,000 Hessian."
LIMIT = 3.0
"""Standard errors by which the trace may be off."""

Found = dict[str, Any]


class Options(registry.Options):
    """What the paper has, but for the seed."""

    name: Literal["appendix_e"] = "appendix_e"
    seed: int = Field(0, ge=0, description="Seed of the matrix and of the estimators' random vectors.")
    size: int = Field(1000, ge=10, le=10_000, description="Rows of the matrix.")
    samples: int = Field(500, ge=10, description="Random vectors for the trace.")
    steps: int = Field(100, ge=1, description="Steps of a Lanczos run.")
    starts: int = Field(1, ge=1, description="Lanczos runs; ‖A‖_F has an error from 2 on.")


@dataclass(frozen=True)
class _Estimates:
    """What was computed, before it is told."""

    exact: quadratic_loss.Exact
    densities: dict[str, Density]
    hutchinson: TraceEstimate
    found: Found


def estimate(options: Options) -> Found:
    """The numbers: ``exact``, ``published`` and ``deflated``, each with trace, ends of the spectrum and norm."""
    return _estimates(options).found


def compute(options: Options) -> Reproduced:
    """Estimate by Hessian products of L, compare with the dense matrix, and draw."""
    made = _estimates(options)
    trace = made.found["published"]["trace"]
    off = abs(trace["value"] - made.exact.trace) / trace["sem"]
    agrees = off <= LIMIT
    where = "within" if agrees else "beyond"
    record = _record(options, made, agrees)
    return Reproduced(
        agrees=agrees,
        verdict=f"Hutchinson's trace is {off:.2f} standard errors from the exact one, {where} {LIMIT:g}",
        tables=(_table(made.found, options),),
        record=record,
        figure=_figure.of_record(record, inputs.WIDE),
    )


def _estimates(options: Options) -> _Estimates:
    matrix = quadratic_loss.symmetric_gaussian(options.size, options.seed)
    exact = quadratic_loss.Exact.of(matrix)
    operator = quadratic_loss.hessian(matrix, options.seed)
    quadrature, deflated = (
        quadratic_loss.density(name, operator, options.steps, options.starts, options.seed)
        for name in ("quadrature", "deflated")
    )
    hutchinson = quadratic_loss.hutchinson(operator, options.samples, options.seed)
    beside = quadratic_loss.deflated(operator, deflated, options.samples, options.seed)
    found = {
        "exact": {
            "trace": exact.trace,
            "frobenius": exact.frobenius,
            "eig_min": float(exact.eigenvalues[0]),
            "eig_max": float(exact.eigenvalues[-1]),
        },
        "published": {
            "trace": _trace(float(hutchinson.mean), float(hutchinson.sem), options.samples, exact.trace),
            **_spectrum(quadrature, exact),
        },
        "deflated": {
            "trace": _trace(float(beside.value), float(beside.sem), int(beside.samples), exact.trace),
            **_spectrum(deflated, exact),
        },
    }
    return _Estimates(exact, {"quadrature": quadrature, "deflated": deflated}, hutchinson, found)


def _trace(value: float, sem: float, samples: int, exact: float) -> Found:
    # a Krylov space that is the whole space leaves nothing to estimate, and may leave no error either
    deviation = (value - exact) / sem if sem else None
    return {"value": value, "sem": sem, "samples": samples, "deviation": deviation}


def _spectrum(density: Density, exact: quadratic_loss.Exact) -> Found:
    nodes = density.nodes[density.weights > 0]
    norm, sem, _ = density.frobenius()
    return {
        "frobenius": float(norm),
        "frobenius_sem": float(sem) if math.isfinite(float(sem)) else None,
        "eig_min": float(nodes.min()),
        "eig_max": float(nodes.max()),
        "wasserstein": quadratic_loss.distance(density, exact),
        "products": density.num_products,
    }


def _table(found: Found, options: Options) -> Table:
    exact, published, deflated = found["exact"], found["published"], found["deflated"]

    def row(name: str, key: str, digits: int) -> tuple[Cell, ...]:
        cells = [Cell(name), Cell(_fixed(exact[key], digits) if key in exact else ABSENT)]
        return (*cells, *(Cell(_fixed(one[key], digits)) for one in (published, deflated)))

    traces = [one["trace"] for one in (published, deflated)]
    rows = (
        (Cell("trace"), Cell(_fixed(exact["trace"], 2)), *(Cell(_fixed(one["value"], 2)) for one in traces)),
        (
            Cell("  standard error"),
            Cell(""),
            *(Cell(f"{one['sem']:.2f}", note=f"n = {one['samples']}") for one in traces),
        ),
        (Cell("  deviation in them"), Cell(""), *(Cell(signed(one["deviation"])) for one in traces)),
        row("smallest eigenvalue", "eig_min", 3),
        row("largest eigenvalue", "eig_max", 3),
        row("‖A‖_F", "frobenius", 2),
        row("W1 to the exact spectrum", "wasserstein", 4),
        (Cell("products for the spectrum"), Cell(""), *(Cell(str(one["products"])) for one in (published, deflated))),
    )
    caption = (
        f"L(x) = ½ xᵀAx with {options.size:,} variables. As published: Hutchinson's estimator of the trace, and "
        "Lanczos quadrature. Deflated: both with the Lanczos basis taken out, which serves spectra with outliers; a "
        "semicircle has none."
    )
    return Table("New 2022, Appendix E", caption, ("", "Exact", "As published", "Deflated"), rows)


def _fixed(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}".replace("-", "−")


def _record(options: Options, made: _Estimates, agrees: bool) -> Found:
    spectra = {
        name: {
            "nodes": [[x if math.isfinite(x) else None for x in run] for run in density.nodes[0].tolist()],
            "weights": density.weights[0].tolist(),
        }
        for name, density in made.densities.items()
    }
    return {
        "name": options.name,
        "options": options.model_dump(exclude={"name"}),
        "agrees": agrees,
        "limit": LIMIT,
        **made.found,
        "trace_samples": made.hutchinson.samples[0].tolist(),
        "spectra": spectra,
        "eigenvalues": made.exact.eigenvalues.tolist(),
    }
