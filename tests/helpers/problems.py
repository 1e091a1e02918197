"""Small training problems on the stores of :mod:`helpers.stores`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ensemble_mtl.config.sections import ModelConfig, TrainConfig
from ensemble_mtl.curvature.running import curvature
from ensemble_mtl.data import degrees
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.models.layout import Layout
from ensemble_mtl.models.model import Model
from ensemble_mtl.models.spec import ModelSpec
from ensemble_mtl.train import state
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem
from helpers.stores import table

CPU = torch.device("cpu")


def make(
    store: GraphStore,
    tasks: tuple[str, ...] = ("H", "C"),
    *,
    conv: Any = "pna",
    edge_features: int = 0,
    kinds: int = 0,
    num_val: int = 4,
    pooling: str = "mean",
    width: int = 5,
    **train: Any,
) -> Problem:
    """Return a problem with two convolutions and a hidden layer of 8 per head, in float64 unless ``train`` says else.

    The last ``num_val`` graphs validate, all before them train, and the first two are also the test part.

    Args:
        store: the graphs.
        tasks: names of tasks, keys of ``helpers.stores.TARGETS``.
        conv: name or options of the convolution.
        edge_features: number of features of an edge.
        kinds: number of edges with different features; 0 if all edges differ.
        num_val: number of validation graphs.
        pooling: how features of nodes become those of a graph.
        width: number of features of a node.
        train: settings of the section ``train``.
    """
    config = ModelConfig(trunk={"conv": conv, "layers": 2, "width": width, "pooling": pooling}, heads=(8,))
    spec = ModelSpec(config, tasks, 1, edge_features)
    options = TrainConfig(**{"dtype": "float64", "batch_size": 3, **train})
    columns = table(store, tasks, edge_features, getattr(torch, options.dtype), kinds=kinds)
    indices = torch.arange(len(store))
    model = Model(spec, degrees.of(store, np.arange(len(store))), columns.node_tasks)
    return Problem(
        model=model,
        layout=Layout(spec.parameters()),
        buffers=Layout(spec.buffers()),
        table=columns,
        train=indices[:-num_val],
        val=indices[-num_val:],
        test=indices[:2],
        stream="test",
        config=options,
        curvature=curvature,
    )


def start(problem: Problem, seeds: list[int]) -> StackState:
    """Return the state of untrained members of ``problem``, one per seed."""
    return state.initial(problem.layout, problem.buffers, seeds, problem.config, CPU)


def both(problem: Problem, num_members: int) -> torch.Tensor:
    """Return the task weights ``[M, T]`` of members that learn every task: all are 1."""
    return torch.ones(num_members, len(problem.model.spec.tasks), dtype=getattr(torch, problem.config.dtype))
