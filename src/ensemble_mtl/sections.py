"""The sections of a configuration, each with its defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ensemble_mtl import registry
from ensemble_mtl.checked import DISTINCT, Checked
from ensemble_mtl.components import ConvOptions, LauncherOptions, OptimizerOptions, ScheduleOptions
from ensemble_mtl.elements import PROTON_NUMBERS
from ensemble_mtl.units import BOHR_IN_ANGSTROM


class Section(Checked):
    """Base of the configuration's sections."""

    model_config = ConfigDict(validate_default=True)


class GraphConfig(Section):
    """How atoms become a graph; for sources that give their own bonds, leave it out."""

    radius: PositiveFloat = 7.0
    """Cut-off of the neighbour list, in ``radius_unit``."""
    radius_unit: Literal["angstrom", "bohr"] = "angstrom"
    periodic: bool = False
    """Whether periodic images are neighbours; needs a source that knows its cell."""
    node_features: Literal["proton_number", "one_hot"] = "proton_number"
    """Input of each atom: its normalised proton number, or one entry per element."""
    elements: Annotated[tuple[str, ...], DISTINCT] | None = None
    """The elements of ``one_hot``, in order."""

    @model_validator(mode="after")
    def _elements_for_one_hot(self) -> GraphConfig:
        for symbol in self.elements or ():
            if symbol not in PROTON_NUMBERS:
                raise ValueError(f"elements: got {symbol!r}, expected chemical symbols such as Fe")
        if (self.node_features == "one_hot") != bool(self.elements):
            raise ValueError("node_features: one_hot and a list of elements go together; give both or neither")
        return self

    @property
    def num_node_features(self) -> int:
        """Length of each atom's input."""
        return len(self.elements) if self.elements else 1

    @property
    def radius_angstrom(self) -> float:
        """The cut-off in ångström."""
        return self.radius * (BOHR_IN_ANGSTROM if self.radius_unit == "bohr" else 1.0)


class TaskConfig(Section):
    """One property to learn."""

    target: str
    """Name of the source's target column, e.g. ``mixing_enthalpy``."""
    label: str | None = None
    """How figures call it; the target's name if left out."""
    weight: PositiveFloat = 1.0
    """Weight of the task's loss in a multi-task member."""


class NormalizeConfig(Section):
    """Scaling of inputs and targets before training."""

    method: Literal["minmax", "standard"] = "minmax"
    fit_on: Literal["train", "all"] = "train"
    """Which graphs the scale is taken from; ``all`` is what Lupo Pasini 2022 did."""


class ModelConfig(Section):
    """Trunk of graph convolutions with one head per task."""

    conv: ConvOptions = "pna"
    layers: PositiveInt = 6
    width: PositiveInt = 20
    pooling: Literal["mean", "sum"] = "mean"
    heads: tuple[PositiveInt, ...] = (50, 25)
    """Widths of the fully connected layers of each head, before its output."""
    edge_basis: PositiveInt | None = None
    """Number of Gaussians that expand the edge length into edge features; none if left out."""

    @model_validator(mode="after")
    def _edge_features_are_used(self) -> ModelConfig:
        def uses_edges(conv: str) -> bool:
            return bool(registry.load("models.conv", conv).EDGE_FEATURES)

        if self.edge_basis is not None and not uses_edges(self.conv.name):
            able = ", ".join(name for name in registry.names("models.conv") if uses_edges(name))
            raise ValueError(
                f"edge_basis: conv {self.conv.name!r} has no use for edge features; "
                f"leave edge_basis out, or use one of {able}"
            )
        return self


class StoppingConfig(Section):
    """Early stopping on the validation loss."""

    patience: PositiveInt = 10
    """Epochs without a new best validation loss after which a member stops."""


class TrainConfig(Section):
    """Optimisation of one member."""

    epochs: PositiveInt = 200
    batch_size: PositiveInt = 64
    optimizer: OptimizerOptions = "adam"
    schedule: ScheduleOptions = "constant"
    early_stopping: StoppingConfig | None = Field(default_factory=StoppingConfig)
    dtype: Literal["float32", "float64"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_seconds: PositiveFloat = 60.0
    """Least time between two checkpoints of a member; the last epoch is always kept."""


class ProbeConfig(Section):
    """Curvature of each task's loss with respect to the shared parameters."""

    epochs: Annotated[tuple[int | Literal["end"], ...], Field(min_length=1), DISTINCT] = (0, "end")
    """When to probe: 0 is before training, ``end`` is the member's last epoch."""
    graphs: PositiveInt = 64
    """Size of the fixed probe set, drawn from the training part."""
    trace_samples: PositiveInt = 100
    lanczos_steps: PositiveInt = 30
    lanczos_starts: PositiveInt = 1


class LaunchConfig(Section):
    """Where the members run."""

    launcher: LauncherOptions = "local"
    members_per_shard: PositiveInt = 12
    """Largest number of members trained together in one stack."""
    retries: NonNegativeInt = 1
    """How often a shard whose worker died is given to a new worker."""
