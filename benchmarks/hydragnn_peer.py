"""HydraGNN's own PNA model on a ready PyG batch, as a peer of the training benchmark where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch

from ensemble_mtl.train.loop import batches
from ensemble_mtl.train.step import Problem

if TYPE_CHECKING:
    from torch_geometric.data import Batch

    from ensemble_mtl.models.trunk.convolutions import Options

IMPORTED = ("hydragnn", "ase", "sklearn", "tensorboard")
"""Packages that HydraGNN 3.0 imports at once; it does not declare all of them."""


def available() -> bool:
    """Return whether HydraGNN can be imported here."""
    return all(importlib.util.find_spec(package) is not None for package in IMPORTED)


def peer(problem: Problem) -> Callable[[], None]:
    """Return a training step of HydraGNN's model on the first batch, with its loss: the mean of the tasks' MSE.

    Its graph heads share a layer that cannot be left out; it is as wide as the trunk. All else is the architecture of
    the study, whose trunk has to be PNA convolutions with all scalers and mean pooling.
    """
    model, (batch, heads) = _model(problem), _batch(problem)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss, _ = model.loss(model(batch), batch.y, heads)
        loss.backward()
        optimizer.step()

    return step


def _model(problem: Problem) -> Any:
    from hydragnn.models.create import create_model

    spec = problem.model.spec
    trunk, tasks = cast("Options", spec.config.trunk), spec.tasks
    head = {"num_headlayers": len(spec.config.heads), "dim_headlayers": list(spec.config.heads)}
    return create_model(
        model_type="PNA",
        input_dim=spec.in_features,
        hidden_dim=trunk.width,
        output_dim=[1] * len(tasks),
        output_type=["node" if task in problem.model.node_tasks else "graph" for task in tasks],
        output_heads={
            "graph": {"num_sharedlayers": 1, "dim_sharedlayers": trunk.width, **head},
            "node": {"type": "mlp", **head},
        },
        activation_function="relu",
        loss_function_type="mse",
        task_weights=[1.0] * len(tasks),
        num_conv_layers=trunk.layers,
        num_nodes=1,  # required, and not used where all nodes share an MLP
        edge_dim=spec.edge_features or None,
        pna_deg=list(problem.model.degrees.histogram),
        use_gpu=False,
    )


def _batch(problem: Problem) -> tuple[Batch, tuple[torch.Tensor, ...]]:
    """Return the first batch with all targets in ``y``, and for each head the indices of its targets in ``y``."""
    batch = problem.table.batch(batches(problem, 0)[0]).to_pyg()
    targets = [batch[f"y_{task}"] for task in problem.model.spec.tasks]
    batch.y = torch.cat(targets)
    return batch, torch.arange(len(batch.y)).split([len(target) for target in targets])
