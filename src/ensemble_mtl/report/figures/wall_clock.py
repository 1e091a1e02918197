"""Training wall-clock per subset (Lupo Pasini 2022, Fig. 7)."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from ensemble_mtl.report.figures import look
from ensemble_mtl.report.inputs import Layout, ReportInputs
from ensemble_mtl.report.table import seconds
from ensemble_mtl.report.tables import over_stacks
from ensemble_mtl.study.plan import label

TITLE = "Training wall-clock"
ORDER = 30


def caption(inputs: ReportInputs) -> str:
    """What was timed, on what, and what the error bars are."""
    devices = sorted({row["device"] for row in inputs.summary["wall_clock"] if row["device"]})
    sizes = sorted({size for row in inputs.summary["wall_clock"] for size in row["stack_sizes"]})
    stacks = " and ".join(map(str, sizes))
    return (
        f"Time to train one member on {' and '.join(devices)}, its share of a stack of {stacks}. Bars: mean over "
        f"members {over_stacks(_shown(inputs))}. Early stopping makes members differ."
    )


def draw(inputs: ReportInputs, layout: Layout) -> Figure | None:
    """One bar per subset; None before any result."""
    rows = _shown(inputs)
    if not rows:
        return None
    figure, (axis,) = look.panels(layout, 1, height=1.0 + 0.42 * len(rows))
    means = [row["mean"] for row in rows]
    stds = [row["std"] or 0.0 for row in rows]
    colors = [look.subset_color(inputs, tuple(row["subset"])) for row in rows]
    axis.barh(range(len(rows)), means, color=colors, height=0.66, alpha=0.85)
    shown = [index for index, row in enumerate(rows) if row["std"] is not None]
    axis.errorbar(
        [means[i] for i in shown], shown, xerr=[stds[i] for i in shown],
        fmt="none", ecolor=look.INK, elinewidth=1.3, capsize=3,
    )  # fmt: skip
    reach = max(mean + std for mean, std in zip(means, stds, strict=True))
    for index, row in enumerate(rows):
        axis.text(means[index] + stds[index] + 0.015 * reach, index, seconds(row["mean"]), va="center", fontsize=10)
    axis.set_yticks(range(len(rows)), [label(row["subset"]) for row in rows])
    axis.tick_params(axis="y", length=0)
    axis.invert_yaxis()
    axis.set_xlim(0, reach * 1.2)
    axis.set_xlabel("seconds per member")
    axis.grid(axis="x")
    return figure


def _shown(inputs: ReportInputs) -> list[dict[str, Any]]:
    return [row for row in inputs.summary["wall_clock"] if row["members"] and row["fraction"] == inputs.fraction]
