"""The table of the curvature benchmark."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.curvature_problem import EPOCHS, GRAPHS, TASKS
from benchmarks.meters import Clock
from ensemble_mtl.provenance import device_name, versions
from ensemble_mtl.results import ProbeResult
from ensemble_mtl.train.step import Problem

SAMPLES = 500
"""Of the published estimate of the trace."""
STEPS = 100
"""Of the published spectral density."""
MEASURED = 12
"""Of PyHessian's samples, those that are measured in a round."""
BLOCK = 8
"""Columns that curvlinops is given at once."""


@dataclass
class Found:
    """What was measured; lists are over tasks unless said otherwise."""

    clock: Clock
    memory: dict[str, float]
    errors: list[float]
    """Standard error of 500 samples."""
    trained: Any
    untrained: Any
    replicates: list[list[ProbeResult]]
    """Two, of all tasks."""
    peer_replicates: list[tuple[float, float]]
    """‖H‖_F and largest eigenvalue of the first task, by PyHessian."""
    left_out: list[str]


def table(problem: Problem, found: Found) -> str:
    """As Markdown."""
    clock, unit = found.clock, found.clock.of("gradient")
    plain = clock.of("forms")
    rows: list[tuple[str, float, str]] = []
    peer = peer_all = math.nan
    if "PyHessian, forms" in clock.seconds:
        peer = len(TASKS) * (clock.of("PyHessian, start") + SAMPLES * clock.of("PyHessian, forms") / MEASURED)
        peer_all = peer + len(TASKS) * clock.of("PyHessian, density")
        rows.append((f"PyHessian: trace, {SAMPLES} samples", peer, "forms"))
        rows.append((f"PyHessian: that, and a density of {STEPS} steps", peer_all, "density"))
    if "curvlinops, products" in clock.seconds:
        cost = len(TASKS) * SAMPLES * clock.of("curvlinops, products") / BLOCK
        rows.append((f"curvlinops: trace, {SAMPLES} samples", cost, ""))
    products = found.replicates[0][0].num_matvecs
    own = [
        (f"here: trace, the same {SAMPLES} samples", plain, peer, "forms"),
        ("here: trace to the same error, `gauss_newton`", clock.of("traces"), peer, "traces"),
        ("the same, before training", clock.of("traces, untrained"), peer, "traces, untrained"),
        (f"here: everything, {products} products per task", clock.of("everything"), peer_all, "everything"),
    ]
    software = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# Curvature",
        "",
        f"Four tasks of the graph network of New 2022 at full size ({problem.layout.num_shared:,} shared parameters), "
        f"trained for {EPOCHS} epochs on {len(problem.train)} small molecules, curvature on {GRAPHS} of them. "
        f"CPU time of one thread, in gradients of one task's loss ({unit:.2f} s). {device_name(torch.device('cpu'))}; "
        f"{software}. Made by `make bench`.",
        "",
        "| all four tasks | gradients | part of PyHessian's | peak memory, MiB |",
        "|:--|--:|--:|--:|",
    ]
    memory_of = {"forms": "PyHessian, forms", "density": "PyHessian, density", "": "curvlinops, 8 columns"}
    for name, seconds, key in rows:
        lines.append(f"| {name} | {seconds / unit:,.0f} | | {found.memory[memory_of[key]]:,.0f} |")
    for name, seconds, against, key in own:
        part = "" if math.isnan(against) else f"1/{against / seconds:.1f}"
        lines.append(f"| {name} | {seconds / unit:,.0f} | {part} | {found.memory[key]:,.0f} |")
    lines += [
        "",
        "PyHessian and curvlinops take one task after the other. Measured of them were "
        f"{MEASURED} samples of every task by PyHessian, its density of one task (twice), and {BLOCK} samples of one "
        "task by curvlinops; the rest is reckoned, since each takes as long as the last.",
    ]
    lines += found.left_out
    against = {name: plain / clock.of(name) for name in ("traces", "traces, untrained")}
    lines.append(
        f"Against the {SAMPLES} samples here, `gauss_newton` takes 1/{against['traces']:.1f} of a trained network and "
        f"1/{against['traces, untrained']:.1f} before training."
    )
    lines += ["", "| task | trace | standard error asked | reached | samples | of them before training |"]
    lines += ["|:--|--:|--:|--:|--:|--:|"]
    for t, task in enumerate(TASKS):
        one = found.trained
        lines.append(
            f"| {task} | {float(one.value[t, 0]):.4g} | {found.errors[t]:.2g} | {float(one.sem[t, 0]):.2g} | "
            f"{int(one.samples[t, 0])} | {int(found.untrained.samples[t, 0])} |"
        )
    lines += ["", "| measured twice | ‖H‖_F | | differ by | largest eigenvalue | | differ by |"]
    lines += ["|:--|--:|--:|--:|--:|--:|--:|"]
    for t, task in enumerate(TASKS):
        pair = [(one[t].frobenius, one[t].eig_max) for one in found.replicates]
        lines.append(_twice(f"{task}, here", pair))
    if found.peer_replicates:
        lines.append(_twice(f"{TASKS[0]}, PyHessian, density of {STEPS} steps", found.peer_replicates))
    return "\n".join(lines) + "\n"


def _twice(name: str, pair: list[tuple[float, float]]) -> str:
    cells = []
    for first, second in zip(*pair, strict=True):
        cells += [f"{first:.5g}", f"{second:.5g}", f"{abs(first - second) / abs(first):.3%}"]
    return f"| {name} | " + " | ".join(cells) + " |"
