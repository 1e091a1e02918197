"""Tables of one member's curvature: one per task, and one of its pairs of tasks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from ensemble_mtl.report.table import ABSENT, Cell, Table, scientific, seconds
from ensemble_mtl.study.plan import Subset, label
from ensemble_mtl.study.results import ProbeResult

_ONE_RUN = "1 run, so of unknown error; probes.lanczos_starts: 3 tells it"


def tables(probes: Sequence[ProbeResult], subset: Subset) -> list[Table]:
    """The tables of the ``probes`` of one member at one epoch, one probe per task of its ``subset``."""
    of_tasks = [of_task(probe, subset) for probe in probes]
    return [*of_tasks, of_pairs(probes)] if len(probes) > 1 else of_tasks


def of_task(probe: ProbeResult, subset: Subset) -> Table:
    """The table of all measurements of one task in a member of ``subset``."""
    runs = len(probe.frobenius_runs)
    rows = [
        _row("loss", probe.loss),
        _row("trace", probe.trace, probe.trace_sem, f"n = {probe.trace_samples}"),
        _row("‖H‖_F", probe.frobenius, probe.frobenius_sem, f"{runs} runs" if runs > 1 else _ONE_RUN),
        _row("smallest Ritz value", probe.eig_min, probe.eig_min_error, "to an eigenvalue"),
        _row("largest Ritz value", probe.eig_max, probe.eig_max_error, "to an eigenvalue"),
        *(
            _row(f"leading eigenvalue {rank}", value, residual, "residual")
            for rank, (value, residual) in enumerate(zip(probe.eigenvalues, probe.residuals, strict=True), start=1)
        ),
        (Cell("products"), Cell(f"{probe.num_matvecs}"), Cell("")),
        (Cell("time"), Cell(seconds(probe.seconds)), Cell(f"trace {seconds(probe.trace_seconds)}")),
    ]
    where = "before training" if probe.epoch == 0 else f"epoch {probe.epoch}"
    caption = (
        f"Hessian with respect to the {probe.num_parameters:,} shared parameters, on {probe.num_graphs} training "
        f"graphs, of the {probe.reduction} over their labels; ± standard error, or how near an eigenvalue is; "
        "the extreme ones may lie further out, unless more steps change nothing."
    )
    name = f"{probe.task} in {label(subset)}" if len(subset) > 1 else f"{probe.task} alone"
    return Table(f"{name}, {where}", caption, ("", "Value", "±"), tuple(rows))


def of_pairs(probes: Sequence[ProbeResult]) -> Table:
    """The table of the measures of similarity of each two tasks."""
    measures = ("gradient_cosine", "wasserstein", "energy_wasserstein", "outlier_wasserstein", "eigenvector_overlap")
    rows = tuple(
        (
            Cell(f"{first.task}, {second.task}"),
            *(_measure(first.pairs[second.task], name) for name in measures),
        )
        for first, second in itertools.combinations(probes, 2)
    )
    caption = (
        "W1: Wasserstein-1 distance of the spectra, ± standard error over Lanczos runs; energy-weighted: of their "
        "shapes, with weights ∝ λ²; of outliers: between the converged leading eigenvalues, as many of each. Overlap: "
        "of the leading eigenvectors' spans, 1 if they are the same."
    )
    header = ("", "Gradient cosine", "W1", "Energy-weighted W1", "W1 of outliers", "Overlap")
    return Table("Pairs of tasks", caption, header, rows)


def _row(name: str, value: float, error: float = math.nan, note: str = "") -> tuple[Cell, Cell, Cell]:
    """A row with a value, its error and a note on the error; an undefined error is a dash if it has a note."""
    error_text = scientific(error) if math.isfinite(error) else ABSENT if note else ""
    return Cell(name), Cell(_number(value)), Cell(error_text, note=note)


def _measure(pair: dict[str, float], name: str) -> Cell:
    """The measure ``name`` of a pair of tasks, with its standard error if it has one."""
    error = pair.get(f"{name}_sem", math.nan)
    return Cell(_number(pair[name]) + (f" ± {scientific(error)}" if math.isfinite(error) else ""))


def _number(value: float) -> str:
    return scientific(value, 4) if math.isfinite(value) else ABSENT
