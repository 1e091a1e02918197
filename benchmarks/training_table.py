"""The table of the training benchmark."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ensemble_mtl.provenance import device_name, versions


@dataclass
class Case:
    """What was measured on one kind of graphs.

    Attributes:
        name: of the graphs.
        edges: per graph, on the average.
        rates: variant -> graphs per CPU second × members, of each round.
        memory: variant -> peak of a step, in MiB per member.
    """

    name: str
    edges: float
    rates: dict[str, list[float]]
    memory: dict[str, float]


def table(cases: Sequence[Case], rounds: int) -> str:
    """As Markdown."""
    software = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# Training speed",
        "",
        f"Graphs per CPU second × members; medians of {rounds} interleaved rounds, range in brackets. Peak memory of a "
        f"training step, per member. {device_name(torch.device('cpu'))}; {software}. 6 × 20 PNA, all tasks together, "
        "batch 64, float32. Made by `make bench`.",
        "",
        "| graphs | edges | variant | graphs/s × members | ratio to PyG | MiB per member |",
        "|:--|--:|:--|--:|--:|--:|",
    ]
    for case in cases:
        peer = statistics.median(case.rates["PyG"])
        for variant, found in case.rates.items():
            median = statistics.median(found)
            spread = f"{min(found):,.0f}–{max(found):,.0f}"
            lines.append(
                f"| {case.name} | {case.edges:,.0f} | {variant} | {median:,.0f} ({spread}) | {median / peer:.2f} | "
                f"{case.memory[variant]:,.1f} |"
            )
    return "\n".join(lines) + "\n"
