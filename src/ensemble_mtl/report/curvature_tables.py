"""Tables of how the curvatures of two tasks differ, and of whether tasks gain less where they differ more."""

from __future__ import annotations

from ensemble_mtl.analysis.curvature_pairs import MEASURES
from ensemble_mtl.analysis.mismatch import MISMATCH
from ensemble_mtl.analysis.rank_correlation import MIN_POINTS, RankCorrelation, Sign
from ensemble_mtl.analysis.statistics import MeanAndDeviation
from ensemble_mtl.analysis.summary import Summary
from ensemble_mtl.analysis.summary_rows import CurvaturePair, CurvatureRow, MismatchRow, PairMeasure
from ensemble_mtl.report.row_names import at_fraction
from ensemble_mtl.report.table import ABSENT, Cell, Table, p_value, readable, signed
from ensemble_mtl.study.plan import label

_MEASURES: dict[PairMeasure, str] = {
    "gradient_cosine": "Gradient cosine", "energy_wasserstein": "W1, energy-weighted", "wasserstein": "W1",
    "outlier_wasserstein": "W1 of outliers", "eigenvector_overlap": "Eigenvector overlap",
    "trace_ratio": "Ratio of traces",
}  # fmt: skip
_VERDICTS: dict[Sign, str] = {"falling": "gains where alike", "rising": "gains where unlike"}


def pairs(summary: Summary, *, last: bool = False) -> Table:
    """The measures of every pair of tasks at every probed epoch, or only at the ``last`` one."""
    measured = [row for row in summary.curvature_pairs if any(row.measure(name).members for name in MEASURES)]
    if last:
        measured = [row for row in measured if row.epoch == measured[-1].epoch]
    rows = tuple(
        (
            Cell(f"{', '.join(row.tasks)} in {label(row.subset)}", note=at_fraction(summary, row)),
            Cell(snapshot(row)),
            *(_measure(row.measure(name), row.members) for name in _MEASURES),
            Cell(str(row.members)),
        )
        for row in measured
    )
    caption = (
        "Mean ± sample standard deviation (ddof 1) over members; with respect to the shared parameters, on the probe "
        "set. Gradient cosine: of the two losses' gradients, below 0 they conflict. W1: Wasserstein-1 distance of the "
        "spectral densities; energy-weighted: weights times λ², each λ over its spectrum's largest |λ|, so that shapes "
        "compare; of outliers: between the converged leading eigenvalues, as many of each. Eigenvector overlap: of the "
        "spans of the leading eigenvectors, 1 if equal. Ratio of traces: first over second, over the members (k/n) "
        "whose second trace has no 0 in its 95 % interval."
    )
    if last and len({row.epoch for row in summary.curvature_pairs}) > 1:
        caption += " Last snapshot; the report has all."
    return Table("Pairs of tasks", caption, ("Tasks", "Epoch", *_MEASURES.values(), "n"), rows)


def mismatch(summary: Summary) -> Table:
    """Rank correlations between mismatch and gain, one row per measure and probed epoch."""
    rows = tuple(_mismatch_cells(row) for row in summary.mismatch if row.correlation.points)
    caption = (
        "Spearman's rank correlation ρ over (subset, task) between the gain (fall of test RMSE together against alone, "
        "in per cent) and the task's mean mismatch with its partners; below 0, tasks gain where they are alike. "
        "Difference of traces: |t₁ − t₂| / (|t₁| + |t₂|). Fisher's 95 % interval; p: Holm-corrected over this table. "
        f"No evidence: the interval holds 0, p is 0.05 or more, or there are fewer than {MIN_POINTS} points. Points "
        "share tasks and single-task members, which makes intervals too narrow: take a finding as a hint to test."
    )
    header = ("Mismatch", "Epoch", "ρ", "95 % interval", "p, Holm", "n", "Verdict")
    return Table("Does mismatch tell who gains?", caption, header, rows)


def snapshot(row: CurvatureRow | CurvaturePair) -> str:
    """The probed epoch: ``0``, or ``end (20)`` with the mean of the members' last epochs."""
    return f"end ({row.epoch_mean:.0f})" if row.epoch == "end" else str(row.epoch)


def _measure(measure: MeanAndDeviation, members: int) -> Cell:
    """Mean and deviation of a measure, with ``(k/n)`` where it is defined for only k of n members."""
    note = f"({measure.members}/{members})" if 0 < measure.members < members else ""
    return Cell(readable(measure.mean, measure.std), note=note)


def _mismatch_cells(row: MismatchRow) -> tuple[Cell, ...]:
    correlation = row.correlation
    ends, verdict = correlation.ci95, correlation.verdict
    return (
        Cell(MISMATCH[row.measure]),
        Cell(str(row.epoch)),
        Cell(signed(correlation.spearman)),
        Cell(ABSENT if ends is None else f"{signed(ends[0])} … {signed(ends[1])}"),
        Cell(p_value(correlation.p_holm)),
        Cell(str(correlation.points)),
        Cell(_VERDICTS.get(verdict, "no evidence"), verdict in _VERDICTS, _why(correlation)),
    )


def _why(correlation: RankCorrelation) -> str:
    """Why there is no verdict, where it is for want of points."""
    if correlation.verdict != "too few points":
        return ""
    return f"(too few points: {correlation.points} < {MIN_POINTS})"
