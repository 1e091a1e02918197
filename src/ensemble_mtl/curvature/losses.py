"""The probed losses as functions of the shared parameters: heads held fixed, batch norm in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Literal

import torch
from torch import Tensor

from ensemble_mtl.curvature.forms.quadratic import Residuals
from ensemble_mtl.curvature.operator import LossFunction
from ensemble_mtl.data.batch import GraphBatch
from ensemble_mtl.models.layout import stream_seed
from ensemble_mtl.models.model import Outputs
from ensemble_mtl.models.spec import SHARED_PREFIX
from ensemble_mtl.train.loss import task_losses
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem, num_labels

CHUNK = 64
"""Graphs per pass. What a pass keeps for the next ones is kept of every chunk, so memory grows with their number."""


DRAWS = 4
"""Of the signs of a graph's labels. On the network of Lupo Pasini 2022 one draw leaves 12 % of the variance of a form
of the magnetic moments, four leave 4 % and eight 3 %; each costs a backward pass, as much as 1.3 forms."""

Reduction = Literal["mean", "sum"]


def shared_losses(
    problem: Problem, state: StackState, task: str, graphs: Tensor, reduction: Reduction = "mean"
) -> list[LossFunction]:
    """The task's loss as a function of the shared parameters, ``[M, P_sh]`` to ``[M]``, in chunks.

    The chunks' losses sum to the mean, or to the sum, over the labels of ``graphs``.
    """
    batches = [problem.table.batch(some) for some in graphs.split(CHUNK)]
    labels = [num_labels(batch.targets[task], batch.labelled.get(task)) for batch in batches]
    total = torch.stack(labels).sum().clamp(min=1) if reduction == "mean" else 1.0
    outputs = _outputs(problem, state, [task])

    def loss(batch: GraphBatch, share: Tensor, shared: Tensor) -> Tensor:
        return task_losses(outputs(batch, shared), batch, [task])[:, 0] * share.to(shared.dtype)

    return [partial(loss, batch, count / total) for batch, count in zip(batches, labels, strict=True)]


def residuals(
    problem: Problem,
    state: StackState,
    tasks: Sequence[str],
    graphs: Tensor,
    size: int,
    reduction: Reduction = "mean",
) -> Iterator[Residuals]:
    """The tasks' residuals, ``size`` graphs at a time, each scaled so that their squares sum to the task's loss.

    Their signs are 1 where a graph has one label of a task, and else random, fixed for each graph of the data set and
    for each of the draws.
    """
    whole = problem.table.batch(graphs)
    scale = {
        task: num_labels(whole.targets[task], whole.labelled.get(task)).clamp(min=1).rsqrt().to(whole.x.dtype)
        if reduction == "mean"
        else 1.0
        for task in tasks
    }
    outputs = _outputs(problem, state, tasks)

    def function(batch: GraphBatch, shared: Tensor) -> Tensor:
        found, columns = outputs(batch, shared), []
        for task in tasks:
            mask = batch.labelled.get(task)
            difference = (found[task] - batch.targets[task]) * scale[task]
            columns.append((difference if mask is None else difference * mask).flatten(1))
        return torch.cat(columns, dim=1)

    shapes = [spec.shape for name, spec in problem.layout.specs.items() if name.startswith(SHARED_PREFIX)]
    for some in graphs.split(size):
        batch = problem.table.batch(some)
        apart = _Apart(batch)
        of_node = _graph_of_node(batch)
        of_graph = torch.arange(batch.num_graphs, device=some.device)
        places = [of_graph if batch.targets[task].dim() == 1 else of_node for task in tasks]
        yield Residuals(
            partial(function, batch),
            torch.cat([torch.full_like(place, number) for number, place in enumerate(places)]),
            torch.cat(places),
            torch.cat([_signs(some, of_node) if place is of_node else _ones(place) for place in places], dim=1),
            shapes,
            partial(apart.residuals, function),
            apart.possible_graphs_of_rows,
        )


class _Apart:
    """The batch in which every row belongs to a single graph; it is made when it is asked for."""

    def __init__(self, batch: GraphBatch) -> None:
        self._make = cache(batch.apart)

    def residuals(self, function: Callable[[GraphBatch, Tensor], Tensor], shared: Tensor) -> Tensor:
        """``function`` of that batch."""
        return function(self._make(), shared)

    def possible_graphs_of_rows(self, count: int) -> list[Tensor]:
        """See :meth:`ensemble_mtl.data.batch.GraphBatch.possible_graphs_of_rows`."""
        return self._make().possible_graphs_of_rows(count)


def _outputs(problem: Problem, state: StackState, tasks: Sequence[str]) -> Callable[[GraphBatch, Tensor], Outputs]:
    buffers = problem.buffers.unflatten(state["buffers"])
    heads = state["parameters"][:, problem.layout.num_shared :].detach()

    def outputs(batch: GraphBatch, shared: Tensor) -> Outputs:
        parameters = problem.layout.unflatten(shared, heads)
        x = problem.model.trunk(parameters, buffers, batch, training=False)
        return problem.model.heads(parameters, x, batch, tasks)

    return outputs


def _graph_of_node(batch: GraphBatch) -> Tensor:
    """Of the nodes in the order of flattened node labels."""
    if batch.graph_of_node is not None:
        return batch.graph_of_node
    return torch.arange(batch.num_graphs, device=batch.x.device).repeat(batch.x.shape[1])


def _signs(graphs: Tensor, graph_of_node: Tensor) -> Tensor:
    """``[DRAWS, N]`` 1 or −1 for each node."""
    signs = torch.empty(DRAWS, len(graph_of_node), dtype=torch.int64)
    of_node = graph_of_node.cpu()
    for number, graph in enumerate(graphs.tolist()):
        generator = torch.Generator().manual_seed(stream_seed("signs of nodes", graph))
        own = of_node == number
        signs[:, own] = 2 * torch.randint(2, (DRAWS, int(own.sum())), generator=generator) - 1
    return signs.to(graph_of_node.device)


def _ones(place: Tensor) -> Tensor:
    return place.new_ones(DRAWS, len(place))
