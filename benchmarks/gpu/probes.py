"""Part 4: seconds of curvature probes at 1 and 12 members, with PyHessian beside them where it is installed."""

from __future__ import annotations

import importlib.util
import math
import warnings
from functools import partial
from typing import Any

import torch

from benchmarks.curvature_peers import TaskNetwork
from benchmarks.gpu.clock import forget_memory, once, peak_memory_mib, seconds
from benchmarks.gpu.data import CASES, config_of, name_of
from benchmarks.gpu.part import Record, Setting, main, says
from benchmarks.gpu.speed import problem_of
from ensemble_mtl.config.sections import ProbeConfig
from ensemble_mtl.curvature.measure import all_forms, hessian, probe_set
from ensemble_mtl.curvature.measure import measure as measure_curvature
from ensemble_mtl.curvature.sampling import rademacher
from ensemble_mtl.train.state import StackState, initial
from ensemble_mtl.train.step import Problem

MEMBERS, SMALL_MEMBERS = (1, 12), (1, 2)
SHORT = {"trace_samples": 20, "lanczos_steps": 10}
SMALL = {"trace_samples": 3, "lanczos_steps": 3, "graphs": 8}
PEER_SAMPLES = 3


def measure(setting: Setting, record: Record) -> None:
    """Both cases; the published number of products and forms is reckoned from the seconds of one."""
    for case in CASES:
        problem, config = problem_of(setting, case), config_of(setting, case)
        published = config.probes or ProbeConfig()
        short = published.model_copy(update=SHORT if setting.full else SMALL)
        record[case] = row = {"data": name_of(setting, case), "graphs": short.graphs, "members": {}}
        for size in MEMBERS if setting.full else SMALL_MEMBERS:
            forget_memory(setting)
            state = initial(problem.layout, problem.buffers, range(size), problem.config, setting.torch_device)
            row["members"][str(size)] = one = {**_single(setting, problem, state, short)}
            measure_all = partial(measure_curvature, problem, state, short, tuple(config.tasks))
            one["probe_seconds"] = once(measure_all, setting)
            one["published_seconds"] = _reckoned(one, published, len(config.tasks))
            one["memory_mib"] = peak_memory_mib(setting)
            record.write()
        row["PyHessian"] = _pyhessian(setting, problem, short)
        record.write()


def _single(setting: Setting, problem: Problem, state: StackState, probes: ProbeConfig) -> dict[str, Any]:
    """Seconds of one matrix-vector product, and of one quadratic form of all tasks."""
    tasks, graphs = problem.model.spec.tasks, probe_set(problem, probes.graphs)
    shared = state["parameters"][:, : problem.layout.num_shared]
    v = rademacher(shared.shape[1], shared, torch.Generator().manual_seed(0)).expand(shared.shape)
    operator = hessian(problem, state, tasks[0], graphs)
    forms = all_forms(problem, state, tasks, graphs)
    repeats = 5 if setting.full else 1
    product = seconds(lambda: operator.matvec(v), setting, repeats=repeats)
    form = seconds(lambda: forms.quadratic_forms(v), setting, repeats=repeats)
    cost = forms.gauss_newton_cost()
    return {
        "product_seconds": product,
        "forms_seconds": form,
        "forms_by": type(forms).__name__,
        "gauss_newton_cost": cost if math.isfinite(cost) else None,
        "gauss_newton_seconds": once(forms.gauss_newton_trace, setting),
    }


def _reckoned(one: dict[str, Any], published: ProbeConfig, num_tasks: int) -> float:
    """Of one probe with the published numbers of products and forms, without the linear algebra of Lanczos."""
    products = num_tasks * published.lanczos_steps * published.lanczos_starts
    return float(products * one["product_seconds"] + published.trace_samples * one["forms_seconds"])


def _pyhessian(setting: Setting, problem: Problem, probes: ProbeConfig) -> dict[str, Any]:
    """Seconds per random vector of PyHessian's trace, of one task and one member."""
    if setting.emulated:
        return {"not measured": "emulated"}
    if importlib.util.find_spec("pyhessian") is None:
        return {"not measured": "not installed"}
    try:
        from pyhessian import hessian as peer

        state = initial(problem.layout, problem.buffers, [0], problem.config, setting.torch_device)
        network = TaskNetwork(problem, state, problem.model.spec.tasks[0], probes.graphs)
        data = network.targets, network.targets
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about create_graph
            found = peer(network, torch.nn.functional.mse_loss, data=data, cuda=setting.real_gpu)
        one = seconds(lambda: found.trace(maxIter=PEER_SAMPLES, tol=0.0), setting, repeats=1) / PEER_SAMPLES
    except Exception as error:  # a package of 2019, with a torch that it does not know
        return {"not measured": says(error)}
    return {"form_seconds_per_task": one}


if __name__ == "__main__":
    main(measure)
