"""The common look of all figures: fixed colours for tasks and subsets, panels, the stamp on synthetic data.

Colours are those of Okabe and Ito (2008), which can be distinguished with every common colour blindness.
Figures are plain ``Figure`` objects: no pyplot, so no global state and no display.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ensemble_mtl.report.inputs import PageLayout, ReportInputs
from ensemble_mtl.study.plan import Subset

INK = "#1f2430"
MUTED = "#6b7280"
_TASKS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C6D00", "#332288")
_TOGETHER = ("#1f2430", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933", "#44AA99", "#661100")
_DASHES: tuple[tuple[float, ...], ...] = ((1, 0), (5, 1.5), (1.5, 1.5), (6, 1.5, 1.5, 1.5))
_MARKERS = ("o", "s", "^", "D", "v", "P")
_STRIP_INCHES = 0.32

RC = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.limits": (-2, 4),
    "axes.formatter.use_mathtext": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": "#e5e7eb",
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "ensemble-mtl",  # same figure, same bytes
}


def style() -> AbstractContextManager[None]:
    """Context in which a figure is made and saved."""
    return rc_context(RC)  # type: ignore[arg-type]


def panels(
    layout: PageLayout, count: int, *, height: float, wide_columns: int | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels, as many side by side as the layout has room for.

    Args:
        layout: the layout of the page.
        count: number of panels.
        height: of one row of panels, in inches.
        wide_columns: panels side by side where there is room; 3 if left out.
    """
    room = 1 if layout.columns == 1 else (wide_columns or layout.columns)
    columns = max(1, min(count, room))
    rows = -(-count // columns)
    # a single panel across a whole screen is hard to read, so it does not fill it
    width = layout.width if columns > 1 or layout.columns == 1 else 0.72 * layout.width
    figure = Figure(figsize=(width, rows * height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = [axis for row in grid for axis in row]
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def stamp(figure: Figure, inputs: ReportInputs) -> None:
    """Say on the figure itself that its data are synthetic, if they are."""
    if inputs.synthetic:
        stamp_synthetic(figure)


def stamp_synthetic(figure: Figure) -> None:
    """Say in a strip above the figure's panels that its data are synthetic."""
    engine = figure.get_layout_engine()
    if engine is None:
        return
    engine.set(rect=(0, 0, 1, 1 - _STRIP_INCHES / figure.get_figheight()))  # type: ignore[call-arg]
    figure.text(
        0.995, 0.995, "synthetic data", ha="right", va="top", fontsize=9, color="#9a3412", fontweight="bold",
        bbox={"boxstyle": "round,pad=0.25", "facecolor": "#ffedd5", "edgecolor": "none"},
    )  # fmt: skip


def task_color(inputs: ReportInputs, task: str) -> str:
    """The task's colour in every figure."""
    return color(inputs.tasks.index(task))


def color(index: int) -> str:
    """The colour of the study's task number ``index``."""
    return _TASKS[index % len(_TASKS)]


def task_marker(inputs: ReportInputs, task: str) -> str:
    """The task's marker, which distinguishes tasks without colour."""
    return _MARKERS[inputs.tasks.index(task) % len(_MARKERS)]


def task_dashes(inputs: ReportInputs, task: str) -> tuple[float, ...]:
    """The task's dash pattern, which distinguishes tasks without colour where lines have no markers."""
    return _DASHES[inputs.tasks.index(task) % len(_DASHES)]


def subset_color(inputs: ReportInputs, subset: Subset) -> str:
    """The subset's colour in every figure; a subset of one task has that task's colour."""
    if len(subset) == 1:
        return task_color(inputs, subset[0])
    together = [each for each in inputs.subsets if len(each) > 1]
    return _TOGETHER[together.index(subset) % len(_TOGETHER)]


def subset_dashes(inputs: ReportInputs, subset: Subset) -> tuple[float, ...]:
    """The subset's dash pattern, which distinguishes subsets of the same colour."""
    if len(subset) == 1:
        return _DASHES[1]
    together = [each for each in inputs.subsets if len(each) > 1]
    return _DASHES[(0, 2, 3)[together.index(subset) // len(_TOGETHER) % 3]]


def log_scale(axis: Axes) -> None:
    """A logarithmic y axis with plain numbers at 1, 2 and 5 of each decade, and a grid."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.grid(axis="y")


def share_y_limits(axes: Sequence[Axes]) -> None:
    """Give all panels the same range of y, which holds the range of each."""
    limits = (min(axis.get_ylim()[0] for axis in axes), max(axis.get_ylim()[1] for axis in axes))
    for axis in axes:
        axis.set_ylim(limits)


def literal(text: str) -> str:
    """Text that matplotlib draws as it is; ``$`` would start a formula."""
    return text.replace("$", r"\$")


def legend_below(figure: Figure, axes: Sequence[Axes], columns: int, order: Sequence[str] = ()) -> None:
    """Put one legend for all panels below them, in ``order`` or else in the order in which lines were drawn."""
    entries: dict[str, Artist] = {}
    for axis in axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    entries = {name: entries[name] for name in order or entries if name in entries}
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=columns)
