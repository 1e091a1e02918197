"""Tables of how unlike the curvatures of two tasks are, and of whether that tells who gains."""

from __future__ import annotations

from typing import Any

from ensemble_mtl.analysis.curvature import MEASURES, MISMATCH
from ensemble_mtl.analysis.rank_correlation import MIN_POINTS
from ensemble_mtl.report.table import Cell, Table, p_value, readable, signed
from ensemble_mtl.study.plan import label

Summary = dict[str, Any]
Row = dict[str, Any]

_SHOWN = {
    "gradient_cosine": "Gradient cosine", "energy_wasserstein": "W1, energy-weighted", "wasserstein": "W1",
    "outlier_wasserstein": "W1 of outliers", "eigenvector_overlap": "Eigenvector overlap",
    "trace_ratio": "Ratio of traces",
}  # fmt: skip
_VERDICTS = {"falling": "gains where alike", "rising": "gains where unlike"}


def pairs(summary: Summary, *, last: bool = False) -> Table:
    """Every pair of tasks at every snapshot, or at the ``last`` one."""
    found = [row for row in summary.get("curvature_pairs", []) if any(row[name]["members"] for name in MEASURES)]
    if last:
        found = [row for row in found if row["epoch"] == found[-1]["epoch"]]
    fractions = len(summary["fractions"]) > 1
    rows = tuple(
        (
            Cell(f"{', '.join(row['tasks'])} in {label(row['subset'])}", note=_share(row) if fractions else ""),
            Cell(_epoch(row)),
            *(_measure(row[name], row["members"]) for name in _SHOWN),
            Cell(str(row["members"])),
        )
        for row in found
    )
    caption = (
        "Mean ± sample standard deviation (ddof 1) over members; with respect to the shared parameters, on the probe "
        "set. Gradient cosine: of the two losses' gradients, below 0 they conflict. W1: Wasserstein-1 distance of the "
        "spectral densities; energy-weighted: weights times λ², each λ over its spectrum's largest |λ|, so that shapes "
        "compare; of outliers: between the converged leading eigenvalues, as many of each. Eigenvector overlap: of the "
        "spans of the leading eigenvectors, 1 if equal. Ratio of traces: first over second, over the members (k/n) "
        "whose second trace has no 0 in its 95 % interval."
    )
    if last and len({row["epoch"] for row in summary.get("curvature_pairs", [])}) > 1:
        caption += " Last snapshot; the report has all."
    return Table("Pairs of tasks", caption, ("Tasks", "Epoch", *_SHOWN.values(), "n"), rows)


def mismatch(summary: Summary) -> Table:
    """Rank correlations between mismatch and gain, one row per measure and snapshot."""
    found = [row for row in summary.get("mismatch", []) if row["points"]]
    rows = tuple(
        (
            Cell(MISMATCH[row["measure"]]),
            Cell(str(row["epoch"])),
            Cell(signed(row["spearman"])),
            Cell("–" if row["ci95"] is None else f"{signed(row['ci95'][0])} … {signed(row['ci95'][1])}"),
            Cell(p_value(row["p_holm"])),
            Cell(str(row["points"])),
            Cell(_VERDICTS.get(row["verdict"], "no evidence"), row["verdict"] in _VERDICTS, _why(row)),
        )
        for row in found
    )
    caption = (
        "Spearman's rank correlation ρ over (subset, task) between the gain (fall of test RMSE together against alone, "
        "in per cent) and the task's mean mismatch with its partners; below 0, tasks gain where they are alike. "
        "Difference of traces: |t₁ − t₂| / (|t₁| + |t₂|). Fisher's 95 % interval; p: Holm-corrected over this table. "
        f"No evidence: the interval holds 0, p is 0.05 or more, or there are fewer than {MIN_POINTS} points. Points "
        "share tasks and single-task members, which makes intervals too narrow: take a finding as a hint to test."
    )
    header = ("Mismatch", "Epoch", "ρ", "95 % interval", "p, Holm", "n", "Verdict")
    return Table("Does mismatch tell who gains?", caption, header, rows)


def _epoch(row: Row) -> str:
    return f"end ({row['epoch_mean']:.0f})" if row["epoch"] == "end" else str(row["epoch"])


def _share(row: Row) -> str:
    return f"at {row['fraction']:.0%}"


def _measure(spread: Row, members: int) -> Cell:
    found = spread["members"]
    note = f"({found}/{members})" if 0 < found < members else ""
    return Cell(readable(spread["mean"], spread["std"]), note=note)


def _why(row: Row) -> str:
    return f"(too few points: {row['points']} < {MIN_POINTS})" if row["verdict"] == "too few points" else ""
