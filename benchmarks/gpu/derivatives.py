"""Losses, gradients, products and quadratic forms on the device, against the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.gpu.models import CPU, Example, deviation, plain_operations, start, weights
from benchmarks.gpu.part import Setting
from ensemble_mtl.curvature.measure import all_forms, hessian
from ensemble_mtl.train.step import errors_on, losses_and_gradient


def compare(setting: Setting, example: Example) -> dict[str, float]:
    """Quantity -> deviation from the CPU, relative to the largest entry."""
    with plain_operations():
        expected = quantities(setting, example, CPU)
    measured = quantities(setting, example, setting.torch_device)
    return {name: deviation(measured[name], value) for name, value in expected.items()}


def quantities(setting: Setting, example: Example, device: torch.device) -> dict[str, Tensor]:
    """What training and probes are made of, at the weights of :func:`benchmarks.gpu.models.start`."""
    problem = example.problem(setting, device)
    state, tasks = start(problem, device), problem.model.spec.tasks
    graphs = problem.train[: problem.config.batch_size]
    generator = torch.Generator().manual_seed(2)
    v = torch.randn(len(state), problem.layout.num_shared, generator=generator, dtype=torch.float64).to(device)
    validation = errors_on(problem, state, problem.val)
    products = [hessian(problem, state, task, graphs).matvec(v) for task in tasks]
    forms = all_forms(problem, state, tasks, graphs)
    full, gauss_newton = forms.with_gauss_newton(v)
    trace = forms.gauss_newton_trace()
    losses, gradient = losses_and_gradient(problem, state, weights(problem, device), graphs)
    return {
        "validation errors": torch.stack([*validation]),
        "matrix-vector products": torch.stack(products),
        "quadratic forms": full,
        "Gauss-Newton forms": gauss_newton,
        "Gauss-Newton trace": trace,
        "losses": losses,
        "gradient": gradient,
        **({"running statistics": state["buffers"]} if state["buffers"].numel() else {}),
    }
