"""The figure of the training benchmark."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

from benchmarks.training_table import PEER, Measured
from ensemble_mtl.report.figures.look import MUTED, style

COLOURS = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#8C6D00")
STACK = "stack of "


def draw(measured: Measured) -> bytes:
    """Draw the speed against the number of members, and the time of a graph against its edges; return it as SVG."""
    with style():
        figure = Figure(figsize=(10.5, 4.2), layout="constrained")
        speed, cost = figure.subplots(1, 2)
        for case, colour in zip(measured.cases, COLOURS, strict=False):
            sizes = [int(name.removeprefix(STACK)) for name in case.rates if name.startswith(STACK)]
            ratios = [case.rate(f"{STACK}{size}") / case.rate(PEER) for size in sizes]
            speed.plot(sizes, ratios, "o-", color=colour, label=f"{case.name} ({case.edges:,.0f} edges)")
        speed.axhline(1, color=MUTED, linestyle="--", label="plain PyG, one model")
        speed.set(xscale="log", yscale="log", xlabel="members trained together", ylabel="speed per member, PyG = 1")
        speed.set_xticks(sizes, [str(size) for size in sizes], minor=False)
        speed.minorticks_off()
        speed.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
        speed.set_title("How much faster than PyG")
        lattices = measured.cases[:3]
        for variant, colour in ((PEER, MUTED), ("stack of 1", "#56B4E9"), ("stack of 12", "#0072B2")):
            cost.plot(
                [case.edges for case in lattices],
                [1e3 / case.rate(variant) for case in lattices],
                "o-",
                color=colour,
                label=variant,
            )
        cost.set(xscale="log", yscale="log", xlabel="edges per graph of 32 atoms", ylabel="CPU ms per graph and member")
        cost.set_xticks([case.edges for case in lattices], [f"{case.edges:,.0f}" for case in lattices])
        cost.minorticks_off()
        cost.set_title("What edges cost")
        cost.legend()
        figure.legend(*speed.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
