"""The page of the training benchmark."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.machine import Ceilings, Spent
from ensemble_mtl.core.runtime.provenance import device_name, versions

PEER = "PyG"
TARGETS = {"FePt as published: 7 bohr, open": 5, "11.5 bohr, open": 8, "7 Å, periodic": 35, "QM8": 3}
"""Speed relative to PyG that a stack of 12 is to reach, by kind of graphs."""


@dataclass
class Case:
    """What was measured on one kind of graphs.

    Attributes:
        name: name of the kind of graphs.
        edges: mean number of edges per graph.
        rates: variant -> graphs per CPU second × members, one entry per round.
        memory: variant -> peak memory of a step, in MiB per member.
        spent: where the time of a stack of 12 goes.
    """

    name: str
    edges: float
    rates: dict[str, list[float]]
    memory: dict[str, float]
    spent: Spent

    def rate(self, variant: str) -> float:
        """Return the median rate of a variant, in graphs per CPU second × members."""
        return statistics.median(self.rates[variant])


@dataclass
class Measured:
    """All that the benchmark measured.

    Attributes:
        cases: what was measured on each kind of graphs.
        growth: graphs per batch -> CPU seconds of a step, for the first case.
        growing: number of members in the stack of ``growth``.
        ceilings: the ceilings of the machine.
        rounds: number of interleaved repetitions.
    """

    cases: Sequence[Case]
    growth: dict[int, float]
    growing: int
    ceilings: Ceilings
    rounds: int


def table(measured: Measured) -> str:
    """Return the page with its tables, as Markdown."""
    software = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# Training speed",
        "",
        f"Graphs per CPU second × members; medians of {measured.rounds} interleaved rounds, range in brackets. Peak "
        "memory of a training step, per member, where freed memory goes back at once (a study's workers keep it). "
        f"{device_name(torch.device('cpu'))}; {software}. 6 × 20 PNA, all tasks together, batch 64, float32. "
        "Made by `make bench`; QM8 takes `python -m benchmarks --only training --qm8 FILE`, HydraGNN takes part where "
        "it is installed. Peers are given ready batches, so what their loaders take is not in their times.",
        "",
        "![Training speed](training.svg)",
        "",
        "| graphs | edges | variant | graphs/s × members | ratio to PyG | MiB per member |",
        "|:--|--:|:--|--:|--:|--:|",
        *(line for case in measured.cases for line in _rows(case)),
        "",
        *_targets(measured),
        *_ceilings(measured),
        *_growth(measured),
    ]
    return "\n".join(lines) + "\n"


def _rows(case: Case) -> list[str]:
    lines = []
    for variant, rates in case.rates.items():
        rate, spread = case.rate(variant), f"{min(rates):,.0f}–{max(rates):,.0f}"
        lines.append(
            f"| {case.name} | {case.edges:,.0f} | {variant} | {rate:,.0f} ({spread}) | {rate / case.rate(PEER):.1f} | "
            f"{case.memory[variant]:,.1f} |"
        )
    return lines


def _targets(measured: Measured) -> list[str]:
    lines = ["| graphs | stack of 12 to PyG | target |", "|:--|--:|--:|"]
    for case in measured.cases:
        if case.name in TARGETS:
            ratio = case.rate("stack of 12") / case.rate(PEER)
            lines.append(f"| {case.name} | {ratio:.1f} | {TARGETS[case.name]} |")
    return [*lines, ""]


def _ceilings(measured: Measured) -> list[str]:
    flops, moved = measured.ceilings.flops, measured.ceilings.bytes
    lines = [
        f"One core multiplies large matrices at {flops / 1e9:,.0f} GFLOP/s and copies large arrays at "
        f"{moved / 1e9:,.0f} GB/s (read and written). Of that a stack of 12 reaches, in the parts of a step that are "
        "bound by it; loops are counted with the values that they must read and write once:",
        "",
        "| graphs | time in products | GFLOP/s | of the ceiling | time in loops | GB/s | of the ceiling |",
        "|:--|--:|--:|--:|--:|--:|--:|",
    ]
    for case in measured.cases:
        spent = case.spent
        lines.append(
            f"| {case.name} | {spent.products:.0%} | {spent.flops / 1e9:,.0f} | {spent.flops / flops:.0%} | "
            f"{spent.loops:.0%} | {spent.bytes / 1e9:,.1f} | {spent.bytes / moved:.0%} |"
        )
    return [*lines, ""]


def _growth(measured: Measured) -> list[str]:
    """Return a paragraph on how the time of a step grows with graphs, members and edges."""
    times, case, dense = list(measured.growth.items()), measured.cases[0], measured.cases[2]
    (fewest, shortest), (largest, longest) = times[0], times[-1]
    exponent = math.log(longest / shortest) / math.log(largest / fewest)
    steps = ", ".join(f"{size}: {seconds * 1e3:,.0f}" for size, seconds in times)
    ratio = math.log(case.rate("stack of 24") / case.rate("stack of 1")) / math.log(24)
    edges = [
        f"{name}, edges × {dense.edges / case.edges:.1f}: × {case.rate(name) / dense.rate(name):.1f}"
        for name in (PEER, "stack of 12")
    ]
    return [
        f"Growth of the time of a step. With graphs per batch (milliseconds; {case.name}, {measured.growing} members) "
        f"{steps}: as their number to the power {exponent:.2f}. With members, from 1 to 24, as their number to the "
        f"power {1 - ratio:.2f}. With edges, from the first case to {dense.name}: {'; '.join(edges)}.",
    ]
