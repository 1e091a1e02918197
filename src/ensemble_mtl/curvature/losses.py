"""The probed losses as functions of the shared parameters: heads are held fixed, batch norm is in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Literal

import torch
from torch import Tensor

from ensemble_mtl.curvature.forms.gradient_norms import MAX_GRAPHS
from ensemble_mtl.curvature.forms.quadratic import Residuals
from ensemble_mtl.curvature.operator import LossFunction
from ensemble_mtl.data.batch import GraphBatch
from ensemble_mtl.models.layout import stream_seed
from ensemble_mtl.models.model import Outputs
from ensemble_mtl.models.spec import SHARED_PREFIX
from ensemble_mtl.train.loss import task_losses
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem, num_labels

CHUNK = MAX_GRAPHS
"""Graphs per pass, as many as one pass separates (:mod:`ensemble_mtl.curvature.forms.gradient_norms`). What one pass
keeps for the next vector is kept for every chunk, so memory grows with the number of chunks."""

DRAWS = 4
"""Draws of the signs of a graph's labels. On the network of Lupo Pasini 2022 one draw leaves 12 % of the variance of a
form of the magnetic moments, four leave 4 % and eight 3 %; each costs a backward pass, as much as 1.3 forms."""

Reduction = Literal["mean", "sum"]
"""Whether a task's loss is the mean or the sum of the squared errors of its labels."""


def shared_losses(
    problem: Problem, state: StackState, task: str, graphs: Tensor, reduction: Reduction = "mean"
) -> list[LossFunction]:
    """The task's loss as a function of the shared parameters, ``[M, P_sh]`` to ``[M]``, in chunks of graphs.

    The chunks' losses add up to the mean, or to the sum, over the labels of ``graphs``.
    """
    batches = [problem.table.batch(chunk) for chunk in graphs.split(CHUNK)]
    labels = [num_labels(batch.targets[task], batch.labelled.get(task)) for batch in batches]
    total = torch.stack(labels).sum().clamp(min=1) if reduction == "mean" else 1.0
    outputs = _outputs(problem, state, [task])

    def loss(batch: GraphBatch, share: Tensor, shared: Tensor) -> Tensor:
        return task_losses(outputs(batch, shared), batch, [task])[:, 0] * share.to(shared.dtype)

    # A chunk's mean times its number of labels is its sum; over the number of all labels, its part of the whole mean.
    return [partial(loss, batch, count / total) for batch, count in zip(batches, labels, strict=True)]


def residuals(
    problem: Problem,
    state: StackState,
    tasks: Sequence[str],
    graphs: Tensor,
    size: int,
    reduction: Reduction = "mean",
) -> Iterator[Residuals]:
    """The tasks' residuals, ``size`` graphs at a time, each scaled so that their squares add up to the task's loss.

    Their signs are 1 where a graph has one label of a task. Elsewhere they are random, and fixed for each graph of the
    data set and each of the draws.
    """
    residuals_of = _residual_function(problem, state, tasks, graphs, reduction)
    shapes = [spec.shape for name, spec in problem.layout.specs.items() if name.startswith(SHARED_PREFIX)]
    for chunk in graphs.split(size):
        batch = problem.table.batch(chunk)
        separate = _SeparateGraphs(batch)
        graph_of_node = _graph_of_node(batch)
        every_graph = torch.arange(batch.num_graphs, device=chunk.device)
        # For each task, the graph of each label: labels are of graphs or of nodes.
        graph_of_labels = [every_graph if batch.targets[task].dim() == 1 else graph_of_node for task in tasks]
        signs = [_signs(chunk, graph) if graph is graph_of_node else _ones(graph) for graph in graph_of_labels]
        yield Residuals(
            function=partial(residuals_of, batch),
            task=torch.cat([torch.full_like(graph, number) for number, graph in enumerate(graph_of_labels)]),
            graph=torch.cat(graph_of_labels),
            signs=torch.cat(signs, dim=1),
            shapes=shapes,
            separate_function=partial(separate.evaluate, residuals_of),
            possible_graphs_of_rows=separate.possible_graphs_of_rows,
        )


def _residual_function(
    problem: Problem, state: StackState, tasks: Sequence[str], graphs: Tensor, reduction: Reduction
) -> Callable[[GraphBatch, Tensor], Tensor]:
    """From a batch and shared parameters ``[M, P_sh]`` to the residuals ``[M, R]`` of one task after another.

    A missing label has the residual 0. For the mean, every residual is divided by √(number of the task's labels in
    ``graphs``).
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
        predictions, columns = outputs(batch, shared), []
        for task in tasks:
            mask = batch.labelled.get(task)
            difference = (predictions[task] - batch.targets[task]) * scale[task]
            columns.append((difference if mask is None else difference * mask).flatten(1))
        return torch.cat(columns, dim=1)

    return function


class _SeparateGraphs:
    """The batch in which every row of every layer belongs to a single graph; it is made when it is first needed."""

    def __init__(self, batch: GraphBatch) -> None:
        self._batch = cache(batch.separated)

    def evaluate(self, function: Callable[[GraphBatch, Tensor], Tensor], shared: Tensor) -> Tensor:
        """``function`` of that batch and of the shared parameters ``[M, P_sh]``."""
        return function(self._batch(), shared)

    def possible_graphs_of_rows(self, count: int) -> list[Tensor]:
        """See :meth:`ensemble_mtl.data.batch.GraphBatch.possible_graphs_of_rows`."""
        return self._batch().possible_graphs_of_rows(count)


def _outputs(problem: Problem, state: StackState, tasks: Sequence[str]) -> Callable[[GraphBatch, Tensor], Outputs]:
    """From a batch and shared parameters ``[M, P_sh]`` to the tasks' predictions, with the heads of ``state``."""
    buffers = problem.buffers.unflatten(state["buffers"])
    heads = state["parameters"][:, problem.layout.num_shared :].detach()

    def outputs(batch: GraphBatch, shared: Tensor) -> Outputs:
        parameters = problem.layout.unflatten(shared, heads)
        x = problem.model.trunk(parameters, buffers, batch, training=False)
        return problem.model.heads(parameters, x, batch, tasks)

    return outputs


def _graph_of_node(batch: GraphBatch) -> Tensor:
    """The graph of each node, for the nodes in the order of flattened node labels."""
    if batch.graph_of_node is not None:
        return batch.graph_of_node
    return torch.arange(batch.num_graphs, device=batch.x.device).repeat(batch.x.shape[1])


def _signs(graphs: Tensor, graph_of_node: Tensor) -> Tensor:
    """``[DRAWS, N]`` 1 or −1 at random for each node.

    Args:
        graphs: ``[G]`` number of each graph in the data set, which decides its signs.
        graph_of_node: ``[N]`` place of each node's graph among ``graphs``.
    """
    signs = torch.empty(DRAWS, len(graph_of_node), dtype=torch.int64)
    place_of_node = graph_of_node.cpu()
    for place, graph in enumerate(graphs.tolist()):
        generator = torch.Generator().manual_seed(stream_seed("signs of nodes", graph))
        in_graph = place_of_node == place
        signs[:, in_graph] = 2 * torch.randint(2, (DRAWS, int(in_graph.sum())), generator=generator) - 1
    return signs.to(graph_of_node.device)


def _ones(graph_of_label: Tensor) -> Tensor:
    """``[DRAWS, number of labels]`` signs that are all 1."""
    return graph_of_label.new_ones(DRAWS, len(graph_of_label))
