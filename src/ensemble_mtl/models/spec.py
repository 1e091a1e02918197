"""Names, shapes and initial distributions of a model's parameters, without torch.

Parameter names are those of the equivalent PyG module (``trunk.0.conv.lin.weight``), so a
member can be handed over as a plain ``state_dict``. Names that begin with ``trunk.`` are
the shared parameters θ_sh; ``heads.<task>.`` are the task's own θ_t.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ensemble_mtl.config import registry

if TYPE_CHECKING:  # the configuration loads the default trunk, which comes here
    from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.config.sections import ModelConfig

SHARED_PREFIX = "trunk."
HEADS_PREFIX = "heads."


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter tensor of one member.

    Attributes:
        shape: without the member axis.
        kind: ``uniform`` on [−value, value], or ``constant``.
        value: the bound, or the constant.
    """

    shape: tuple[int, ...]
    kind: Literal["uniform", "constant"]
    value: float

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


Specs = dict[str, ParameterSpec]


def uniform(bound: float, *shape: int) -> ParameterSpec:
    """Uniform on [−bound, bound]."""
    return ParameterSpec(shape, "uniform", bound)


def constant(value: float, *shape: int) -> ParameterSpec:
    """All elements equal to ``value``."""
    return ParameterSpec(shape, "constant", value)


def glorot(*shape: int) -> ParameterSpec:
    """Glorot and Bengio 2010, uniform, fans taken from the last two axes (as PyG does)."""
    return uniform(math.sqrt(6.0 / (shape[-2] + shape[-1])), *shape)


def linear(name: str, fan_in: int, fan_out: int, *, bias: bool = True) -> Specs:
    """Weight ``[fan_out, fan_in]`` and bias of a Linear, initialised as torch and PyG do."""
    bound = 1.0 / math.sqrt(fan_in) if fan_in else 0.0
    specs = {f"{name}.weight": uniform(bound, fan_out, fan_in)}
    return {**specs, f"{name}.bias": uniform(bound, fan_out)} if bias else specs


def lecun(name: str, fan_in: int, fan_out: int, *, bias: bool = True) -> Specs:
    """Weight and bias of a Linear with the variances of flax's Dense (LeCun et al. 1998): 1/fan_in, and 0."""
    specs = {f"{name}.weight": uniform(math.sqrt(3.0 / fan_in), fan_out, fan_in)}
    return {**specs, f"{name}.bias": constant(0.0, fan_out)} if bias else specs


def norm(name: str, features: int) -> Specs:
    """Scale and shift of a normalisation."""
    return {f"{name}.weight": constant(1.0, features), f"{name}.bias": constant(0.0, features)}


def prefixed(prefix: str, specs: Specs) -> Specs:
    """The same specs under ``prefix.``."""
    return {f"{prefix}.{name}": spec for name, spec in specs.items()}


@dataclass(frozen=True)
class ModelSpec:
    """All that decides a model's function apart from its weights.

    Attributes:
        config: the model section of the configuration.
        tasks: heads, in order.
        in_features: node input features.
        edge_features: edge input features, 0 if none.
    """

    config: ModelConfig
    tasks: tuple[str, ...]
    in_features: int = 1
    edge_features: int = 0

    @cached_property
    def trunk(self) -> Any:
        """The trunk's module; looked up once, since that reads a directory."""
        return registry.load("models.trunk", self.config.trunk)

    def parameters(self) -> Specs:
        """Every trainable tensor, the shared ones first."""
        specs = prefixed("trunk", self.trunk.parameters(self.in_features, self.edge_features, self.config))
        for task in self.tasks:
            sizes = (self.config.width, *self.config.heads, 1)
            for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
                specs |= linear(f"heads.{task}.{layer}", fan_in, fan_out)
        return specs

    def buffers(self) -> Specs:
        """Running statistics of the trunk; not trained."""
        return prefixed("trunk", self.trunk.buffers(self.config))

    def num_parameters(self) -> dict[str, int]:
        """Counts of all and of the shared parameters of one member."""
        sizes = {name: spec.size for name, spec in self.parameters().items()}
        shared = sum(size for name, size in sizes.items() if name.startswith(SHARED_PREFIX))
        return {"total": sum(sizes.values()), "shared": shared}


def of_subset(config: StudyConfig, subset: tuple[str, ...], widths: tuple[int, int] | None = None) -> ModelSpec:
    """The model of the members that learn ``subset``.

    Args:
        config: the study.
        subset: the tasks.
        widths: features per node and edge; needed only where :func:`input_widths` cannot tell.
    """
    widths = widths or input_widths(config)
    if widths is None:
        raise ValueError("graph: the data decide on the features; give their widths")
    return ModelSpec(config.model, subset, *widths)


def input_widths(config: StudyConfig) -> tuple[int, int] | None:
    """Features per node and edge as far as the configuration tells; None if the data decide."""
    nodes, bonds = config.graph.num_node_features, config.graph.num_bond_features
    return None if nodes is None or bonds is None else (nodes, bonds or config.model.edge_basis or 0)
