"""The sections of a configuration, each with its defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from ensemble_mtl.config import registry
from ensemble_mtl.config.checked import DISTINCT, Checked, Mistake, mistakes, nested
from ensemble_mtl.config.components import (
    DensityOptions,
    LauncherOptions,
    OptimizerOptions,
    ScheduleOptions,
    TraceOptions,
    WeightingOptions,
)
from ensemble_mtl.core.elements import PROTON_NUMBERS
from ensemble_mtl.core.units import BOHR_IN_ANGSTROM


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
    elements: Annotated[Literal["found"] | tuple[str, ...], DISTINCT] | None = None
    """The elements of ``one_hot``, in order, or ``found``: those that the data hold."""
    bonds: Annotated[Literal["found"] | tuple[str, ...], DISTINCT] | None = None
    """Kinds of bonds that become features of edges, one entry per kind, in order, or ``found``: those that the
    data hold. For sources that give their own bonds; without it edges have no features."""

    @model_validator(mode="after")
    def _elements_for_one_hot(self) -> GraphConfig:
        for symbol in self.elements if isinstance(self.elements, tuple) else ():
            if symbol not in PROTON_NUMBERS:
                raise ValueError(f"elements: got {symbol!r}, expected chemical symbols such as Fe")
        if self.bonds == ():
            raise ValueError("bonds: got none, expected kinds such as single; leave it out for no features of edges")
        if (self.node_features == "one_hot") != bool(self.elements):
            raise ValueError("node_features: one_hot and a list of elements go together; give both or neither")
        return self

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # members' ids are hashes of this; those of studies from before the option must not change
        values: dict[str, Any] = handler(self)
        return {key: value for key, value in values.items() if key != "bonds" or value is not None}

    @property
    def num_node_features(self) -> int | None:
        """Length of each atom's input; None if the data decide."""
        if self.elements == "found":
            return None
        return len(self.elements) if self.elements else 1

    @property
    def num_bond_features(self) -> int | None:
        """Length of each bond's features, 0 if there are none; None if the data decide."""
        return None if self.bonds == "found" else len(self.bonds or ())

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
    """Weight of the task's loss in training by the weighting ``fixed``, and in the validation loss by every one."""


class NormalizeConfig(Section):
    """Scaling of inputs and targets before training."""

    method: Literal["minmax", "standard"] = "minmax"
    fit_on: Literal["train", "all"] = "train"
    """Which graphs the scale is taken from; ``all`` is what Lupo Pasini 2022 did."""


class ModelConfig(Section):
    """A trunk that all tasks share, with one head per task.

    The trunk's own options stand beside these keys. Its file, ``models/trunk/<trunk>.py``, declares
    them in an ``Options(ModelConfig)``, and every ``ModelConfig`` that is made is one of those.
    """

    trunk: str = "convolutions"
    width: PositiveInt
    """Features that the trunk gives each node and each graph, and that the heads read."""
    heads: tuple[PositiveInt, ...] = (50, 25)
    """Widths of the fully connected layers of each head, before its output."""
    edge_basis: PositiveInt | None = None
    """Number of Gaussians that expand the edge length into edge features; none if left out."""

    def __new__(cls, **given: Any) -> Self:
        """Of the trunk that is ``given``, so that ``ModelConfig(layers=2)`` is checked like a file's section."""
        return super().__new__(_trunk_options(given) if cls is ModelConfig else cls)

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_trunk(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if cls is not ModelConfig or not isinstance(value, dict):
            return handler(value)
        try:
            options = _trunk_options(value)
        except ValueError as error:
            raise mistakes([Mistake(("trunk",), str(error), value["trunk"])]) from None
        try:
            return options.model_validate(value, context=info.context)
        except ValidationError as error:
            raise nested(error.errors(), options) from None

    @model_serializer
    def _whole(self) -> dict[str, Any]:
        # Pydantic would leave out what only the trunk's own class declares. Members' ids are hashes of this; those
        # of studies from before there was a choice of trunk must not change.
        values = {name: getattr(self, name) for name in type(self).model_fields}
        default = ModelConfig.model_fields["trunk"].default
        return {name: value for name, value in values.items() if (name, value) != ("trunk", default)}


def _trunk_options(given: dict[str, Any]) -> Any:
    name = given.get("trunk", ModelConfig.model_fields["trunk"].default)
    return registry.load("models.trunk", str(name)).Options


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
    weighting: WeightingOptions = "fixed"
    """What multi-task members are trained on, of their tasks' losses; several are compared by ``weightings``."""
    early_stopping: StoppingConfig | None = Field(default_factory=StoppingConfig)
    dtype: Literal["float32", "float64"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_seconds: PositiveFloat = 60.0
    """Least time between two checkpoints of a member; the last epoch is always kept."""
    test_every: PositiveInt | None = None
    """Every so many epochs the test part is evaluated as well, for curves only; no decision looks at it."""

    @model_serializer(mode="wrap")
    def _without_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # members' ids are hashes of this; those of studies from before there was a choice must not change
        values: dict[str, Any] = handler(self)
        return {key: value for key, value in values.items() if (key, value) != ("weighting", {"name": "fixed"})}


def _some_snapshot(epochs: tuple[int | str, ...]) -> tuple[int | str, ...]:
    if not epochs:
        raise ValueError("expected at least one epoch, or `probes: null` for a study without probes")
    return epochs


class ProbeConfig(Section):
    """Curvature of each task's loss with respect to the shared parameters."""

    epochs: Annotated[tuple[int | Literal["end"], ...], AfterValidator(_some_snapshot), DISTINCT] = (0, "end")
    """When to probe: 0 is before training, ``end`` is the member's last epoch."""
    graphs: PositiveInt = 64
    """Size of the fixed probe set, drawn from the training part."""
    reduction: Literal["mean", "sum"] = "mean"
    """Of the squared errors over the labels of the probe set."""
    trace: TraceOptions = "hutchinson"
    """Estimator of the trace."""
    trace_samples: PositiveInt = 100
    """Random vectors for the trace; the most of them, for an estimator that stops by itself."""
    density: DensityOptions = "quadrature"
    """Estimator of the spectral density."""
    lanczos_steps: Annotated[int, Field(ge=2)] = 30
    """Steps of a Lanczos run; one would say nothing of ‖H‖_F."""
    lanczos_starts: PositiveInt = 1
    """Runs from start vectors of their own; their spread is the error, so one run has none."""
    leading: PositiveInt = 5
    """Largest number of leading eigenpairs."""


class ReportConfig(Section):
    """What the report shows."""

    figures: Literal["all", "none"] | tuple[str, ...] = "all"
    """By the names of their files; drawing them takes most of a report's time. Tables are always there."""

    @field_validator("figures")
    @classmethod
    def _known_figures(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        known = registry.names("report.figures")
        if wrong := [name for name in value if name not in known] if isinstance(value, tuple) else []:
            raise ValueError(registry.unknown(wrong[0], known))
        return value

    def shown(self) -> list[str]:
        """Names of the figures to draw."""
        known = registry.names("report.figures")
        return known if self.figures == "all" else [name for name in known if name in self.figures]


class LaunchConfig(Section):
    """Where the members run."""

    launcher: LauncherOptions = "local"
    members_per_shard: PositiveInt = 12
    """Largest number of members trained together in one stack."""
    mix_subsets: bool = False
    """Whether members of different subsets may share a stack, as many as ``members_per_shard`` allows. Each then has
    all heads, which costs time on a CPU; on a GPU, where small members wait for each other, one stack of all members
    can be the quickest. Times of single members mean little then, and cost ratios are not like for like."""
    retries: NonNegativeInt = 1
    """How often a shard whose worker died is given to a new worker."""
