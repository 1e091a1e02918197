"""What every trunk file offers; the contract tests hold each one to it.

A trunk is a module with

* ``Options(ModelConfig)`` — its own options, with ``trunk: Literal["<file>"]`` and a default ``width``;
* ``ACTIVATION`` — ``relu`` or ``tanh``, of the heads' hidden layers;
* ``parameters(in_features, edge_features, options) -> Specs`` — without torch, named without ``trunk.``;
* ``buffers(options) -> Specs`` — likewise, of running statistics;
* ``forward(parameters, buffers, batch, options, degrees, *, training) -> Features`` — with
  parameters and buffers ``[M, …]``, and with regard to ``topology.num_separate_graphs``
  (:mod:`ensemble_mtl.models.conv.base`);
* ``reference(in_features, edge_features, options, degrees) -> torch.nn.Module`` — the same function of
  one member and a PyG ``Batch``, whose ``state_dict`` names are the parameters' and buffers' names. It
  gives node features ``[N, F]`` and graph features ``[G, F]``, or None if those are pooled from nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Features(NamedTuple):
    """What heads read.

    Attributes:
        nodes: ``[M, N, B, width]``, by heads of node tasks.
        graphs: ``[M, G, width]``, by heads of graph tasks.
    """

    nodes: Tensor
    graphs: Tensor
