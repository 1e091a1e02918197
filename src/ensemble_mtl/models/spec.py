"""Names, shapes and initial distributions of a model's parameters, without torch.

Parameters have the names that they have in the equivalent PyG module, such as ``trunk.0.conv.lin.weight``, so that a
member can be handed over as a plain ``state_dict``. Names that begin with ``trunk.`` are of shared parameters θ_sh, and
names that begin with ``heads.<task>.`` of parameters θ_t of one task.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

from ensemble_mtl.config.sections import ModelConfig
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.models.trunk import base as trunks
from ensemble_mtl.models.trunk.base import Trunk

SHARED_PREFIX = "trunk."
HEADS_PREFIX = "heads."


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter tensor of one member.

    Attributes:
        shape: the tensor's shape, without the member axis.
        kind: initial distribution: ``uniform`` on [−value, value], or ``constant``.
        value: the bound of the uniform distribution, or the constant.
    """

    shape: tuple[int, ...]
    kind: Literal["uniform", "constant"]
    value: float

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


Specs = dict[str, ParameterSpec]
"""Name of a parameter -> its spec."""


def uniform(bound: float, *shape: int) -> ParameterSpec:
    """A tensor of this shape whose initial values are uniform on [−bound, bound]."""
    return ParameterSpec(shape, "uniform", bound)


def constant(value: float, *shape: int) -> ParameterSpec:
    """A tensor of this shape whose initial values all equal ``value``."""
    return ParameterSpec(shape, "constant", value)


def glorot(*shape: int) -> ParameterSpec:
    """A tensor with the uniform initial values of Glorot and Bengio 2010; fans are its last two axes, as in PyG."""
    return uniform(math.sqrt(6.0 / (shape[-2] + shape[-1])), *shape)


def linear(name: str, fan_in: int, fan_out: int, *, bias: bool = True) -> Specs:
    """Weight ``[fan_out, fan_in]`` and bias ``[fan_out]`` of a linear map, with the initial values of torch and PyG."""
    bound = 1.0 / math.sqrt(fan_in) if fan_in else 0.0
    specs = {f"{name}.weight": uniform(bound, fan_out, fan_in)}
    return {**specs, f"{name}.bias": uniform(bound, fan_out)} if bias else specs


def lecun(name: str, fan_in: int, fan_out: int, *, bias: bool = True) -> Specs:
    """Weight ``[fan_out, fan_in]`` and bias ``[fan_out]`` of a linear map, with the initial variances of flax's Dense.

    They are 1/fan_in and 0 (LeCun et al. 1998).
    """
    specs = {f"{name}.weight": uniform(math.sqrt(3.0 / fan_in), fan_out, fan_in)}
    return {**specs, f"{name}.bias": constant(0.0, fan_out)} if bias else specs


def norm(name: str, features: int) -> Specs:
    """Scale (initially 1) and shift (initially 0) of a batch or layer norm, ``[features]`` each."""
    return {f"{name}.weight": constant(1.0, features), f"{name}.bias": constant(0.0, features)}


def prefixed(prefix: str, specs: Specs) -> Specs:
    """The same specs under the names ``<prefix>.<name>``."""
    return {f"{prefix}.{name}": spec for name, spec in specs.items()}


@dataclass(frozen=True)
class ModelSpec:
    """Everything but the weights that decides what function a model computes.

    Attributes:
        config: the model section of the configuration.
        tasks: the tasks, each of which has a head, in order.
        in_features: number of input features of a node.
        edge_features: number of input features of an edge; 0 if edges have none.
    """

    config: ModelConfig
    tasks: tuple[str, ...]
    in_features: int = 1
    edge_features: int = 0

    @property
    def trunk(self) -> Trunk:
        """The trunk's module."""
        return trunks.FAMILY.of(self.config.trunk)

    def parameters(self) -> Specs:
        """Every trainable tensor, the shared ones first."""
        specs = prefixed("trunk", self.trunk.parameters(self.in_features, self.edge_features, self.config.trunk))
        for task in self.tasks:
            sizes = (self.config.trunk.width, *self.config.heads, 1)
            for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
                specs |= linear(f"heads.{task}.{layer}", fan_in, fan_out)
        return specs

    def buffers(self) -> Specs:
        """Running statistics of the trunk; not trained."""
        return prefixed("trunk", self.trunk.buffers(self.config.trunk))

    def num_parameters(self) -> dict[str, int]:
        """``total`` and ``shared`` number of parameters of one member."""
        sizes = {name: spec.size for name, spec in self.parameters().items()}
        shared = sum(size for name, size in sizes.items() if name.startswith(SHARED_PREFIX))
        return {"total": sum(sizes.values()), "shared": shared}


def of_subset(config: StudyConfig, subset: tuple[str, ...], widths: tuple[int, int] | None = None) -> ModelSpec:
    """The model of the members that learn ``subset``.

    Args:
        config: the study.
        subset: the tasks.
        widths: numbers of features of a node and of an edge; needed only where :func:`input_widths` is None.

    Raises:
        ValueError: the numbers of features are needed and absent.
    """
    widths = widths or input_widths(config)
    if widths is None:
        raise ValueError("graph: the numbers of features depend on the data; pass them as widths")
    return ModelSpec(config.model, subset, *widths)


def input_widths(config: StudyConfig) -> tuple[int, int] | None:
    """Numbers of features of a node and of an edge, from the configuration; None if they depend on the data."""
    nodes, bonds = config.graph.num_node_features, config.graph.num_bond_features
    return None if nodes is None or bonds is None else (nodes, bonds or config.model.edge_basis or 0)
