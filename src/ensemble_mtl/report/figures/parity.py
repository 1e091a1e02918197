"""Predicted against true values of the largest subset (Lupo Pasini 2022, Fig. 4)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.report.figures import look
from ensemble_mtl.report.inputs import PageLayout, ReportInputs
from ensemble_mtl.study.plan import label

TITLE = "Predicted against true"
ORDER = 10
_HEXAGONS = 48
_MAX_DOTS = 300
"""With fewer values each is a dot; with more, cells are coloured by number."""


def caption(inputs: ReportInputs) -> str:
    """Which member and which part of the data are shown."""
    subset = inputs.largest or ()
    member = inputs.typical(subset)
    return (
        f"Test part, model {label(subset)}, seed {member.seed}: the member of median test error among "
        f"{len(inputs.members[subset])}. Colour (dots where values are few): number per cell, logarithmic. "
        "Line: prediction = truth. RMSE and R² are of this member."
    )


def draw(inputs: ReportInputs, layout: PageLayout) -> Figure | None:
    """One panel per task of the largest subset; None before it has a result."""
    subset = inputs.largest
    if subset is None:
        return None
    pairs = {task: pair for task, pair in inputs.parity(inputs.typical(subset)).items() if len(pair[0])}
    if not pairs:
        return None
    # panels are square, so that their height follows from their width
    height = 3.6 if layout.columns == 1 else 3.2 if len(pairs) > 2 else 4.4
    figure, axes = look.panels(layout, len(pairs), height=height)
    for axis, (task, (true, predicted)) in zip(axes, pairs.items(), strict=True):
        _panel(figure, axis, true, predicted)
        axis.set_title(look.literal(inputs.quantity(task)))
        axis.set_xlabel("true")
        axis.set_ylabel("predicted")
    return figure


def _panel(figure: Figure, axis: Axes, true: FloatArray, predicted: FloatArray) -> None:
    """Draw one task's ``predicted`` against its ``true`` values, both ``[n]`` in physical units."""
    low, high = float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))
    margin = 0.04 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    if len(true) < _MAX_DOTS:
        axis.plot(true, predicted, "o", ms=4, mew=0, alpha=0.6, color="#0072B2", rasterized=True)
    else:
        hexagons = axis.hexbin(
            true, predicted, gridsize=_HEXAGONS, bins="log", cmap="viridis", mincnt=1,
            extent=(*limits, *limits), linewidths=0.1, rasterized=True,
        )  # fmt: skip
        # placed in the panel's coordinates, so that it is as tall as the square panel
        figure.colorbar(hexagons, cax=axis.inset_axes((1.03, 0, 0.04, 1)))
    axis.plot(limits, limits, color="#d55e00", lw=1.2, zorder=3)
    axis.set(xlim=limits, ylim=limits, aspect="equal", box_aspect=1)
    residual = predicted - true
    total = float(np.sum((true - true.mean()) ** 2))
    text = f"RMSE {np.sqrt(np.mean(residual**2)):.3g}"
    if total > 0:
        text += f"\nR² {1 - float(np.sum(residual**2)) / total:.4f}"
    axis.text(0.04, 0.96, text, transform=axis.transAxes, va="top", fontsize=10)
