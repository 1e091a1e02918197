"""Distribution of the test error over each ensemble (Lupo Pasini 2022, Fig. 5)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.analysis.aggregates import COMPARED
from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.report.figures import look
from ensemble_mtl.report.inputs import Layout, ReportInputs
from ensemble_mtl.study.plan import Subset, label

TITLE = "Test error over the ensemble"
ORDER = 20
_ENOUGH = 4
"""Members below which a density curve would show its kernel and not the data."""


def caption(inputs: ReportInputs) -> str:
    """What is shown, and what the band means."""
    return (
        "Scaled test RMSE of every member; further left is better. Vertical line: mean over the ensemble; band: ± one "
        "sample standard deviation (ddof 1); short strokes: single members; curve: Gaussian kernel density (Scott's "
        f"width), from {_ENOUGH} members on, each at the same height and cut at 0."
    )


def draw(inputs: ReportInputs, layout: Layout) -> Figure | None:
    """One panel per task, one row per subset that learns it; None before any result."""
    values = {task: _values(inputs, task) for task in inputs.tasks}
    values = {task: found for task, found in values.items() if any(len(v) for v in found.values())}
    if not values:
        return None
    most = max(len(found) for found in values.values())
    figure, axes = look.panels(layout, len(values), height=0.9 + 0.62 * most)
    for axis, (task, found) in zip(axes, values.items(), strict=True):
        for row, (subset, errors) in enumerate(reversed(found.items())):
            _ridge(axis, row, errors, look.subset_color(inputs, subset))
        axis.set_yticks(range(len(found)), [label(subset) for subset in reversed(found)])
        axis.tick_params(axis="y", length=0)
        axis.set_ylim(-0.25, len(found) - 0.05)
        axis.spines["left"].set_visible(False)
        axis.set_title(look.literal(inputs.summary["tasks"][task]["label"]))
        axis.set_xlabel("test RMSE (scaled)")
        axis.locator_params(axis="x", nbins=5)
    return figure


def _values(inputs: ReportInputs, task: str) -> dict[Subset, FloatArray]:
    return {
        subset: np.array([result.metrics[task]["test"][COMPARED] for _, result in pairs], dtype=np.float64)
        for subset, pairs in inputs.members.items()
        if task in subset
    }


def _ridge(axis: Axes, row: int, errors: FloatArray, color: str) -> None:
    axis.axhline(row, color="#d1d5db", lw=0.8, zorder=1)
    if not len(errors):
        axis.text(0.5, row + 0.2, "no member yet", transform=axis.get_yaxis_transform(), ha="center", color=look.MUTED)
        return
    mean = float(errors.mean())
    std = float(errors.std(ddof=1)) if len(errors) > 1 else 0.0
    axis.vlines(errors, row - 0.12, row, color=color, lw=1.1, alpha=0.8)
    if std and len(errors) >= _ENOUGH:
        _curve(axis, row, errors, (mean, std), color)
    elif std:
        axis.fill_between([mean - std, mean + std], row, row + 0.35, color=color, alpha=0.3, lw=0)
    axis.vlines(mean, row, row + 0.72, color=color, lw=2.2, zorder=4)


def _curve(axis: Axes, row: int, errors: FloatArray, moments: tuple[float, float], color: str) -> None:
    mean, std = moments
    width = std * len(errors) ** -0.2
    grid = np.linspace(max(0.0, errors.min() - 3 * width), errors.max() + 3 * width, 200)
    density = np.exp(-0.5 * ((grid[:, None] - errors) / width) ** 2).sum(axis=1)
    height = row + 0.72 * density / density.max()
    axis.fill_between(grid, row, height, color=color, alpha=0.12, lw=0)
    inside = np.abs(grid - mean) <= std
    axis.fill_between(grid, row, height, where=inside.tolist(), color=color, alpha=0.35, lw=0)
    axis.plot(grid, height, color=color, lw=1.4)
