"""Curvature of four tasks on the graph network of New 2022, against PyHessian and curvlinops.

The network at full size (1.8 million shared parameters), trained for a while, 64 molecules, one
member, float32, one thread. CPU time; where the peers would take half an hour, some of their vectors are
measured and the rest reckoned, since each takes as long as the last. Memory is the peak above what was there before.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import curvature_peers as peers
from ensemble_mtl import prepare, registry
from ensemble_mtl.config import StudyConfig
from ensemble_mtl.probes.hutchinson import rademacher
from ensemble_mtl.probes.measure import all_forms, measure, probe_set
from ensemble_mtl.probes.trace.base import Control
from ensemble_mtl.provenance import device_name, versions
from ensemble_mtl.results import ProbeResult
from ensemble_mtl.sections import ProbeConfig
from ensemble_mtl.shard import make_problem
from ensemble_mtl.study import Study
from ensemble_mtl.train.state import StackState, initial
from ensemble_mtl.train.step import Problem, train_epoch

ROUNDS = 2
GRAPHS = 64
EPOCHS = 450
SAMPLES = 500
"""Of the published estimate of the trace."""
STEPS = 100
"""Of the published spectral density."""
MEASURED = 12
"""Of these, as many are measured in a round."""
BLOCK = 8
"""Columns that curvlinops is given at once."""
SPECTRA = ProbeConfig.model_validate(
    {
        "graphs": GRAPHS,
        "density": {"name": "deflated", "steps": 20},
        "lanczos_steps": 40,
        "lanczos_starts": 2,
        "trace": "deflated",
        "trace_samples": SAMPLES,
    }
)
"""80 products per task, and the samples of the trace."""

TASKS = ("a", "b", "c", "d")
CHAINS = ("C", "CC", "CCC", "C1CC1", "CC(C)", "C=C")
GROUPS = (
    "O", "N", "F", "C=O", "C#N", "C(=O)O", "C(=O)N", "OC", "NC", "C#C", "C(F)(F)F", "OCC", "N(C)C", "C(=O)C", "CO",
    "CN",
)  # fmt: skip
CONFIG: dict[str, Any] = {
    "name": "benchmark",
    "data": {"name": "smiles", "smiles": "smiles", "targets": dict.fromkeys(TASKS, "")},
    "graph": {"node_features": "one_hot", "elements": "found", "bonds": "found"},
    "tasks": {task: {"target": task} for task in TASKS},
    "split": {"name": "random", "fractions": [0.70, 0.15, 0.15]},
    "normalize": {"method": "standard", "fit_on": "train"},
    "model": {"trunk": "graph_network", "steps": 5, "width": 64, "heads": [64], "share_weights": False},
    "train": {
        "device": "cpu",
        "epochs": EPOCHS,
        "batch_size": 32,
        "schedule": {"name": "exponential", "gamma": 0.99, "after": 200},
        "test_every": None,
    },
}


def make(folder: Path) -> tuple[Problem, StackState]:
    """The trained network."""
    molecules = [chain + group for chain, group in itertools.product(CHAINS, GROUPS)]
    lines = ["smiles," + ",".join(TASKS)]
    for smiles in molecules:
        size, polar = len(smiles), smiles.count("O") + smiles.count("N")
        multiple = smiles.count("=") + 0.5 * smiles.count("#")
        values = (math.sin(size), size + 0.3 * polar**2, multiple - 0.2 * polar, polar / size)
        lines.append(smiles + "," + ",".join(f"{value:.6f}" for value in values))
    (folder / "molecules.csv").write_text("\n".join(lines) + "\n")
    config = {**CONFIG, "data": {**CONFIG["data"], "path": str(folder / "molecules.csv")}}
    study = Study(StudyConfig.model_validate(config), folder / "study")
    study.root.mkdir(exist_ok=True)
    prepare.prepare(study, lambda done, total: None)
    problem = make_problem(study.config, prepare.load(study, 0), TASKS, 0, 1.0, torch.device("cpu"))
    state = initial(problem.layout, problem.buffers, [0], problem.config, torch.device("cpu"))
    return problem, state


@dataclass
class Clock:
    """CPU seconds, by what they were spent on."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def time(self, name: str, function: Callable[[], Any]) -> Any:
        """Call the function and note its time."""
        started = time.process_time()
        found = function()
        self.seconds.setdefault(name, []).append(time.process_time() - started)
        return found

    def of(self, name: str) -> float:
        """Median."""
        return statistics.median(self.seconds[name])


def peak_of(function: Callable[[], Any]) -> float:
    """Peak of the process's memory above what it has now, in MiB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not hide what is taken now
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    function()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


def traces(problem: Problem, state: StackState, name: str, most: int, relative: list[float] | None = None) -> Any:
    """The traces of all tasks by one estimator, without a spectrum; ``relative`` is the error asked of each task."""
    module = registry.load("probes.trace", name)
    options = module.Options()
    norms = torch.zeros(len(TASKS), 1, dtype=torch.float64)
    if relative is not None:  # each task has its own, so it is asked for as a share of a norm
        options = module.Options(relative_error=0.0, norm_error=1.0)
        norms = torch.tensor(relative, dtype=torch.float64)[:, None]
    nothing = [Control(norms.new_zeros(1), norms.new_zeros(1, 0)) for _ in TASKS]
    forms = all_forms(problem, state, TASKS, probe_set(problem, GRAPHS))
    return module.estimate(options, _vectors(problem, state, most), most, forms, nothing, norms)


def _vectors(problem: Problem, state: StackState, count: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(5)
    shared = state["parameters"][:, : problem.layout.num_shared]
    for _ in range(count):
        yield rademacher(shared.shape[1], shared, generator)


def run(rounds: int) -> str:
    """Measure, and return a Markdown table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        problem, state = make(Path(folder))
        fresh = state["parameters"].clone()
        for _ in range(EPOCHS):
            train_epoch(problem, state, torch.ones(1, len(TASKS)))
    untrained = StackState({**state.tensors, "parameters": fresh}, epoch=0)
    return _table(problem, _measure(problem, state, untrained, rounds))


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


def _measure(problem: Problem, state: StackState, untrained: StackState, rounds: int) -> Found:
    clock, memory, left_out = Clock(), {}, peers.missing()
    networks = [peers.TaskNetwork(problem, state, task, GRAPHS) for task in TASKS]
    has_pyhessian, has_curvlinops = (not any(name in line for line in left_out) for name in ("pyhessian", "curvlinops"))
    forms = all_forms(problem, state, TASKS, probe_set(problem, GRAPHS))
    columns: list[Callable[[int], object]] = [peers.curvlinops(networks[0])] if has_curvlinops else []
    for product in columns:
        memory["curvlinops, 8 columns"] = peak_of(lambda product=product: product(BLOCK))
    memory["gradient"] = peak_of(lambda: _gradient(networks[0]))
    for _ in range(rounds):
        for network in networks:
            clock.time("gradient", lambda network=network: _gradient(network))
            if has_pyhessian:
                samples, _ = clock.time("PyHessian, start", lambda network=network: peers.pyhessian(network))
                clock.time("PyHessian, forms", lambda samples=samples: samples(MEASURED))
                del samples
                network.zero_grad()
        for product in columns:
            clock.time("curvlinops, products", lambda product=product: product(BLOCK))
        clock.time("forms, start", lambda: all_forms(problem, state, TASKS, probe_set(problem, GRAPHS)))
        clock.time("forms", lambda forms=forms: [forms.quadratic_forms(v) for v in _vectors(problem, state, MEASURED)])
    del forms
    peer_replicates = []
    if has_pyhessian:
        memory["PyHessian, forms"] = peak_of(lambda: peers.pyhessian(networks[0])[0](2))
        networks[0].zero_grad()

        def density() -> None:
            _, of_steps = peers.pyhessian(networks[0])
            peer_replicates.extend(clock.time("PyHessian, density", lambda: of_steps(STEPS)) for _ in range(2))
            networks[0].zero_grad()

        memory["PyHessian, density"] = peak_of(density)
    errors = [_errors(problem, one) for one in (state, untrained)]
    memory["forms"] = peak_of(lambda: traces(problem, state, "hutchinson", 2))
    estimates = [
        clock.time(name, lambda one=one, error=error: traces(problem, one, "gauss_newton", SAMPLES, error))
        for name, one, error in zip(("traces", "traces, untrained"), (state, untrained), errors, strict=True)
    ]
    memory["traces"] = peak_of(lambda: traces(problem, state, "gauss_newton", 20))
    replicates: list[list[ProbeResult]] = []
    for epoch in (0, 1):  # it names the random vectors
        again = StackState(state.tensors, epoch)
        peak = peak_of(
            lambda again=again: replicates.extend(
                clock.time("everything", lambda: measure(problem, again, SPECTRA, TASKS))
            )
        )
        memory["everything"] = peak
    return Found(clock, memory, errors[0], estimates[0], estimates[1], replicates, peer_replicates, left_out)


def _gradient(network: peers.TaskNetwork) -> None:
    loss = torch.nn.functional.mse_loss(network(network.targets), network.targets)
    torch.autograd.grad(loss, list(network.parameters()))


def _errors(problem: Problem, state: StackState) -> list[float]:
    """Of 500 samples, from the deviation of 60."""
    found = traces(problem, state, "hutchinson", 60)
    return [float(sem) * math.sqrt(60 / SAMPLES) for sem in found.sem[:, 0]]


def _table(problem: Problem, found: Found) -> str:
    clock, unit = found.clock, found.clock.of("gradient")
    plain = clock.of("forms, start") + SAMPLES * clock.of("forms") / MEASURED
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
        ("the same, before training", clock.of("traces, untrained"), peer, "traces"),
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
    lines += ["", f"PyHessian and curvlinops take one task after the other; of their samples {MEASURED} were measured."]
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
