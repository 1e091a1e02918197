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

from ensemble_mtl import registry

if TYPE_CHECKING:  # the configuration loads the default convolution, which comes here
    from ensemble_mtl.config import StudyConfig
from ensemble_mtl.sections import ModelConfig

SHARED_PREFIX = "trunk."


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
    def conv(self) -> Any:
        """The convolution's module; looked up once, since that reads a directory."""
        return registry.load("models.conv", self.config.conv.name)

    def widths(self) -> list[tuple[int, int]]:
        """(in, out) features of each convolution."""
        width = self.config.width
        first = width if self.embeds else self.in_features
        return [(first if layer == 0 else width, width) for layer in range(self.config.layers)]

    @property
    def embeds(self) -> bool:
        """Whether a Linear lifts the input first, for convolutions that keep their width."""
        return bool(self.conv.EQUAL_WIDTH)

    def parameters(self) -> Specs:
        """Every trainable tensor, the shared ones first."""
        width, specs = self.config.width, Specs()
        if self.embeds:
            specs |= linear("trunk.embed", self.in_features, width)
        for layer, (fan_in, fan_out) in enumerate(self.widths()):
            conv = self.conv.parameters(fan_in, fan_out, self.edge_features, self.config.conv)
            specs |= prefixed(f"trunk.{layer}.conv", conv)
            specs[f"trunk.{layer}.norm.weight"] = constant(1.0, fan_out)
            specs[f"trunk.{layer}.norm.bias"] = constant(0.0, fan_out)
        for task in self.tasks:
            sizes = (width, *self.config.heads, 1)
            for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
                specs |= linear(f"heads.{task}.{layer}", fan_in, fan_out)
        return specs

    def buffers(self) -> Specs:
        """Running statistics of the batch norms; not trained."""
        specs = Specs()
        for layer, (_, fan_out) in enumerate(self.widths()):
            specs[f"trunk.{layer}.norm.running_mean"] = constant(0.0, fan_out)
            specs[f"trunk.{layer}.norm.running_var"] = constant(1.0, fan_out)
        return specs

    def num_parameters(self) -> dict[str, int]:
        """Counts of all and of the shared parameters of one member."""
        sizes = {name: spec.size for name, spec in self.parameters().items()}
        shared = sum(size for name, size in sizes.items() if name.startswith(SHARED_PREFIX))
        return {"total": sum(sizes.values()), "shared": shared}


def of_subset(config: StudyConfig, subset: tuple[str, ...]) -> ModelSpec:
    """The model of the members that learn ``subset``; needs no data."""
    return ModelSpec(config.model, subset, config.graph.num_node_features, config.model.edge_basis or 0)
