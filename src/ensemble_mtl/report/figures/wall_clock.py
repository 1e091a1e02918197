"""Training wall-clock per subset (Lupo Pasini 2022, Fig. 7)."""

from __future__ import annotations

from matplotlib.figure import Figure

from ensemble_mtl.analysis.summary_rows import WallClockRow
from ensemble_mtl.report.figures import look
from ensemble_mtl.report.inputs import PageLayout, ReportInputs
from ensemble_mtl.report.table import seconds
from ensemble_mtl.report.tables import over_stacks
from ensemble_mtl.study.plan import label

TITLE = "Training wall-clock"
ORDER = 30


def caption(inputs: ReportInputs) -> str:
    """What was timed, on which devices, and what the error bars are."""
    devices = sorted({device for row in inputs.summary.wall_clock for device in row.devices})
    sizes = sorted({size for row in inputs.summary.wall_clock for size in row.stack_sizes})
    stacks = " and ".join(map(str, sizes))
    return (
        f"Time to train one member on {' and '.join(devices)}, its share of a stack of {stacks}. Bars: mean over "
        f"members {over_stacks(_shown(inputs))}. Early stopping makes members differ."
    )


def draw(inputs: ReportInputs, layout: PageLayout) -> Figure | None:
    """One bar per subset; None before any result."""
    rows = _shown(inputs)
    if not rows:
        return None
    figure, (axis,) = look.panels(layout, 1, height=1.0 + 0.42 * len(rows))
    means = [row.mean_seconds or 0.0 for row in rows]
    stds = [row.std_seconds or 0.0 for row in rows]
    colors = [look.subset_color(inputs, row.subset) for row in rows]
    axis.barh(range(len(rows)), means, color=colors, height=0.66, alpha=0.85)
    with_error = [index for index, row in enumerate(rows) if row.std_seconds is not None]
    axis.errorbar(
        [means[i] for i in with_error], with_error, xerr=[stds[i] for i in with_error],
        fmt="none", ecolor=look.INK, elinewidth=1.3, capsize=3,
    )  # fmt: skip
    reach = max(mean + std for mean, std in zip(means, stds, strict=True))
    for index, row in enumerate(rows):
        axis.text(
            means[index] + stds[index] + 0.015 * reach, index, seconds(row.mean_seconds), va="center", fontsize=10
        )
    axis.set_yticks(range(len(rows)), [label(row.subset) for row in rows])
    axis.tick_params(axis="y", length=0)
    axis.invert_yaxis()
    axis.set_xlim(0, reach * 1.2)
    axis.set_xlabel("seconds per member")
    axis.grid(axis="x")
    return figure


def _shown(inputs: ReportInputs) -> list[WallClockRow]:
    """The rows of the largest training fraction that have members."""
    return [row for row in inputs.summary.wall_clock if row.members and row.fraction == inputs.fraction]
