"""Distribution of the test error over each ensemble (Lupo Pasini 2022, Fig. 5)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.analysis.groups import compared_error
from ensemble_mtl.analysis.statistics import sample_std
from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.report.figures import look
from ensemble_mtl.report.inputs import PageLayout, ReportInputs
from ensemble_mtl.study.plan import Subset, label

TITLE = "Test error over the ensemble"
ORDER = 20
_CURVE_MEMBERS = 4
"""With fewer members a density curve would show its kernel rather than the data, and is left out."""


def caption(inputs: ReportInputs) -> str:
    """What the marks of an ensemble are."""
    return (
        "Scaled test RMSE of every member; further left is better. Vertical line: mean over the ensemble; band: ± one "
        "sample standard deviation (ddof 1); short strokes: single members; curve: Gaussian kernel density (Scott's "
        f"width), from {_CURVE_MEMBERS} members on, each at the same height and cut at 0."
    )


def draw(inputs: ReportInputs, layout: PageLayout) -> Figure | None:
    """One panel per task, one row per subset that learns it; None before any result."""
    panels = {task: _errors(inputs, task) for task in inputs.tasks}
    panels = {task: ensembles for task, ensembles in panels.items() if any(len(e) for e in ensembles.values())}
    if not panels:
        return None
    num_rows = max(len(ensembles) for ensembles in panels.values())
    figure, axes = look.panels(layout, len(panels), height=0.9 + 0.62 * num_rows)
    for axis, (task, ensembles) in zip(axes, panels.items(), strict=True):
        for row, (subset, errors) in enumerate(reversed(ensembles.items())):
            _ridge(axis, row, errors, look.subset_color(inputs, subset))
        axis.set_yticks(range(len(ensembles)), [label(subset) for subset in reversed(ensembles)])
        axis.tick_params(axis="y", length=0)
        axis.set_ylim(-0.25, len(ensembles) - 0.05)
        axis.spines["left"].set_visible(False)
        axis.set_title(look.literal(inputs.summary.tasks[task].label))
        axis.set_xlabel("test RMSE (scaled)")
        axis.locator_params(axis="x", nbins=5)
    return figure


def _errors(inputs: ReportInputs, task: str) -> dict[Subset, FloatArray]:
    """Subset to the test errors ``[members]`` of the task in scaled units, for the subsets that learn it."""
    return {
        subset: np.array([compared_error(result, task) for _, result in pairs], dtype=np.float64)
        for subset, pairs in inputs.members.items()
        if task in subset
    }


def _ridge(axis: Axes, row: int, errors: FloatArray, color: str) -> None:
    """Draw the ``errors`` ``[members]`` of one ensemble above the height ``row``."""
    axis.axhline(row, color="#d1d5db", lw=0.8, zorder=1)
    if not len(errors):
        axis.text(0.5, row + 0.2, "no member yet", transform=axis.get_yaxis_transform(), ha="center", color=look.MUTED)
        return
    mean = float(errors.mean())
    std = float(sample_std(errors)) if len(errors) > 1 else 0.0
    axis.vlines(errors, row - 0.12, row, color=color, lw=1.1, alpha=0.8)
    if std and len(errors) >= _CURVE_MEMBERS:
        _curve(axis, row, errors, (mean, std), color)
    elif std:
        axis.fill_between([mean - std, mean + std], row, row + 0.35, color=color, alpha=0.3, lw=0)
    axis.vlines(mean, row, row + 0.72, color=color, lw=2.2, zorder=4)


def _curve(axis: Axes, row: int, errors: FloatArray, moments: tuple[float, float], color: str) -> None:
    """Draw the density of the ``errors``, whose mean and deviation are the ``moments``."""
    mean, std = moments
    width = std * len(errors) ** -0.2  # of the kernel, by Scott's rule
    grid = np.linspace(max(0.0, errors.min() - 3 * width), errors.max() + 3 * width, 200)
    density = np.exp(-0.5 * ((grid[:, None] - errors) / width) ** 2).sum(axis=1)
    height = row + 0.72 * density / density.max()
    axis.fill_between(grid, row, height, color=color, alpha=0.12, lw=0)
    inside = np.abs(grid - mean) <= std
    axis.fill_between(grid, row, height, where=inside.tolist(), color=color, alpha=0.35, lw=0)
    axis.plot(grid, height, color=color, lw=1.4)
