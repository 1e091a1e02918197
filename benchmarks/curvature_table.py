"""The page of the curvature benchmark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.curvature_problem import Network
from benchmarks.meters import Clock
from ensemble_mtl.core.runtime.provenance import device_name, versions
from ensemble_mtl.study.results import ProbeResult

SAMPLES = 500
"""Number of samples of the published estimate of the trace."""
STEPS = 100
"""Number of Lanczos steps of the published spectral density."""
MEASURED = 12
"""Number of PyHessian's samples that a round times; the time of the other ones is reckoned from these."""
BLOCK = 8
"""Number of vectors that curvlinops multiplies at once."""


@dataclass
class Measurements:
    """What was measured on one network.

    Attributes:
        clock: CPU times, by what they were spent on.
        memory: peak memory in MiB, by what took it.
        errors: for each task, the standard error of a trace of :data:`SAMPLES` samples.
        trained: estimates of the traces of all tasks after training.
        untrained: estimates of the traces of all tasks before training.
        replicates: two independent measurements of all tasks' curvature.
        peer_replicates: ‖H‖_F and largest eigenvalue of the first task, twice, by PyHessian.
        left_out: a line for each package that is not installed.
    """

    clock: Clock
    memory: dict[str, float]
    errors: list[float]
    trained: Any
    untrained: Any
    replicates: list[list[ProbeResult]]
    peer_replicates: list[tuple[float, float]]
    left_out: list[str]


def page(networks: Sequence[tuple[Network, Measurements]]) -> str:
    """Return the page with the tables of all networks, as Markdown."""
    software = ", ".join(f"{name} {version}" for name, version in versions().items())
    left_out = sorted({line for _, measured in networks for line in measured.left_out})
    lines = [
        "# Curvature",
        "",
        "What it costs to know the curvature of every task of a network. CPU time of one thread, in gradients of one "
        f"task's loss. {device_name(torch.device('cpu'))}; {software}. Made by `make bench`.",
        "",
        "PyHessian and curvlinops take one task after the other. Measured of them were "
        f"{MEASURED} samples of every task by PyHessian, its density of one task (twice), and {BLOCK} samples of one "
        "task by curvlinops; the rest is reckoned, since each takes as long as the last.",
        *left_out,
    ]
    for network, measured in networks:
        lines += ["", f"## {network.title}", "", network.description, "", *_costs(network, measured)]
        lines += ["", *_errors(network, measured), "", *_replicates(network, measured)]
    return "\n".join(lines) + "\n"


def _costs(network: Network, measured: Measurements) -> list[str]:
    """Return a table of times, in gradients of one task's loss, and of peak memory."""
    clock, unit, count = measured.clock, measured.clock.of("gradient"), len(network.tasks)
    rows: list[tuple[str, float, float, str]] = []
    peer = peer_all = math.nan
    if "PyHessian, forms" in clock.seconds:
        peer = count * (clock.of("PyHessian, start") + SAMPLES * clock.of("PyHessian, forms") / MEASURED)
        peer_all = peer + count * clock.of("PyHessian, density")
        rows.append((f"PyHessian: trace, {SAMPLES} samples", peer, math.nan, "PyHessian, forms"))
        rows.append((f"PyHessian: that, and a density of {STEPS} steps", peer_all, math.nan, "PyHessian, density"))
    if "curvlinops, products" in clock.seconds:
        cost = count * SAMPLES * clock.of("curvlinops, products") / BLOCK
        rows.append((f"curvlinops: trace, {SAMPLES} samples", cost, math.nan, "curvlinops, 8 columns"))
    products = measured.replicates[0][0].num_matvecs
    rows += [
        (f"here: trace, the same {SAMPLES} samples", clock.of("forms"), peer, "forms"),
        ("here: trace to the same error, `gauss_newton`", clock.of("traces"), peer, "traces"),
        ("the same, before training", clock.of("traces, untrained"), peer, "traces, untrained"),
        (f"here: everything, {products} products per task", clock.of("everything"), peer_all, "everything"),
    ]
    lines = [
        f"| all {count} tasks; one gradient takes {unit:.3f} s | gradients | part of PyHessian's | peak memory, MiB |",
        "|:--|--:|--:|--:|",
    ]
    for name, seconds, against, key in rows:
        part = "" if math.isnan(against) else f"1/{against / seconds:.1f}"
        lines.append(f"| {name} | {seconds / unit:,.0f} | {part} | {measured.memory[key]:,.0f} |")
    return lines


def _errors(network: Network, measured: Measurements) -> list[str]:
    """Return a table of traces with their standard errors and numbers of quadratic forms."""
    lines = [
        "| task | trace | standard error asked | reached | quadratic forms | of them before training |",
        "|:--|--:|--:|--:|--:|--:|",
    ]
    estimate = measured.trained
    for t, task in enumerate(network.tasks):
        lines.append(
            f"| {task} | {float(estimate.value[t, 0]):.4g} | {measured.errors[t]:.2g} "
            f"| {float(estimate.sem[t, 0]):.2g} | {int(estimate.samples[t, 0])} "
            f"| {int(measured.untrained.samples[t, 0])} |"
        )
    return lines


def _replicates(network: Network, measured: Measurements) -> list[str]:
    """Return a table of norms and largest eigenvalues that were measured twice."""
    lines = ["| measured twice | ‖H‖_F | | differ by | largest eigenvalue | | differ by |"]
    lines += ["|:--|--:|--:|--:|--:|--:|--:|"]
    for t, task in enumerate(network.tasks):
        pair = [(probes[t].frobenius, probes[t].eig_max) for probes in measured.replicates]
        lines.append(_twice(f"{task}, here", pair))
    if measured.peer_replicates:
        lines.append(_twice(f"{network.tasks[0]}, PyHessian, density of {STEPS} steps", measured.peer_replicates))
    return lines


def _twice(name: str, pair: list[tuple[float, float]]) -> str:
    cells = []
    for first, second in zip(*pair, strict=True):
        cells += [f"{first:.5g}", f"{second:.5g}", f"{abs(first - second) / abs(first):.3%}"]
    return f"| {name} | " + " | ".join(cells) + " |"
