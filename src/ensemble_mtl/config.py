"""The study as its author writes it: typed, frozen, unknown keys refused.

A *component* (data source, split, convolution, optimiser, schedule, launcher) is a name,
or a mapping with ``name`` and that component's own options; its options are declared in
the component's own file and checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ensemble_mtl import registry
from ensemble_mtl.checked import DISTINCT, Checked, Mistake, mistakes, nested
from ensemble_mtl.elements import PROTON_NUMBERS
from ensemble_mtl.units import BOHR_IN_ANGSTROM

TASK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _resolve(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    return path if base is None else Path(base, path.expanduser()).resolve()


ConfigPath = Annotated[Path, AfterValidator(_resolve)]
"""A path in a configuration: absolute, or relative to the configuration's own folder."""


def _component(package: str, default: str | None, value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, registry.Options):
        return value
    given = {"name": value} if isinstance(value, str) else value
    if isinstance(given, dict) and default and "name" not in given:
        given = {"name": default, **given}
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        raise PydanticCustomError("component", "expected a name, or a mapping with 'name'")
    try:
        module = registry.load(package, given["name"])
    except ValueError as error:
        raise PydanticCustomError("component", "{reason}", {"reason": str(error)}) from None
    try:
        return module.Options.model_validate(given, context=info.context)
    except ValidationError as error:
        raise nested(error.errors(), module.Options) from None


# One alias per family of extensions; the values are the families' own Options models.
SourceOptions = Annotated[Any, BeforeValidator(partial(_component, "sources", None))]
SplitOptions = Annotated[Any, BeforeValidator(partial(_component, "data.split", "random"))]
ConvOptions = Annotated[Any, BeforeValidator(partial(_component, "models.conv", "pna"))]
OptimizerOptions = Annotated[Any, BeforeValidator(partial(_component, "train.optimizer", "adam"))]
ScheduleOptions = Annotated[Any, BeforeValidator(partial(_component, "train.schedule", "constant"))]
LauncherOptions = Annotated[Any, BeforeValidator(partial(_component, "launch", "local"))]


def _lists_of_tasks(value: Any) -> Any:
    lists = isinstance(value, list | tuple) and value and all(isinstance(entry, list | tuple) for entry in value)
    if value != "all" and not lists:
        raise ValueError("expected 'all', or a list of lists such as [[H], [H, M]]")
    return value


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


def _unfit_name(name: str, names: list[str]) -> str:
    """What is wrong with a task's name, or nothing."""
    if not TASK_NAME.fullmatch(name):
        return f"got {name!r}, expected a letter, then letters, digits or '_'"
    # names are folders, and some file systems take `h` for `H`
    folded = [other.casefold() for other in names]
    if folded.count(name.casefold()) > 1:
        return f"got {', '.join(names)}, expected names that differ in more than upper and lower case; rename one"
    # a subset of single letters is called by them put together, which must not be a task's name
    if len(name) > 1 and all(letter in folded for letter in name.casefold()):
        return f"got {name!r}, expected more than letters that are tasks: A and B together are called AB; rename one"
    return ""


class StudyConfig(Section):
    """A whole study: which tasks, together or alone, with which seeds."""

    name: str
    description: str = ""
    data: SourceOptions
    graph: GraphConfig = Field(default_factory=GraphConfig)
    tasks: dict[str, TaskConfig] = Field(min_length=1)
    subsets: Annotated[Literal["all"] | tuple[tuple[str, ...], ...], BeforeValidator(_lists_of_tasks)] = "all"
    seeds: PositiveInt | tuple[NonNegativeInt, ...] = 12
    split: SplitOptions = "random"
    split_seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1), DISTINCT] = (0,)
    """One split per entry; every member of a subset is trained on each."""
    fractions: tuple[float, ...] = (1.0,)
    """Shares of the training part used; the validation and test parts stay the same."""
    normalize: NormalizeConfig = Field(default_factory=NormalizeConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    probes: ProbeConfig | None = Field(default_factory=ProbeConfig)
    launch: LaunchConfig = Field(default_factory=LaunchConfig)
    out: ConfigPath | None = None
    """The study directory; ``studies/<name>`` beside the configuration if left out."""

    @field_validator("name")
    @classmethod
    def _safe_name(cls, value: str) -> str:
        if not STUDY_NAME.fullmatch(value):
            raise ValueError("expected letters, digits, '.', '_' and '-' only, since it names a folder")
        return value

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(value, tuple) and (len(set(value)) != len(value) or not value):
            raise ValueError("expected a number of seeds, or a list of distinct seeds")
        return value

    @field_validator("fractions")
    @classmethod
    def _proper_fractions(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or len(set(value)) != len(value) or not all(0 < f <= 1 for f in value):
            raise ValueError("expected distinct numbers above 0 and at most 1")
        return value

    @field_validator("tasks")
    @classmethod
    def _safe_tasks(cls, value: dict[str, TaskConfig]) -> dict[str, TaskConfig]:
        found = [Mistake((name,), text, name) for name in value if (text := _unfit_name(name, list(value)))]
        if found:
            raise mistakes(found)
        targets = [task.target for task in value.values()]
        if len(set(targets)) != len(targets):
            raise ValueError("two tasks share one target; expected a target of its own for each task")
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> StudyConfig:
        found = [*self._unfit_subsets(), *self._unfit_targets(), *self._unfit_probes()]
        if found:
            raise mistakes(found)
        return self

    def _unfit_subsets(self) -> Iterator[Mistake]:
        seen: set[frozenset[str]] = set()
        for index, subset in enumerate(() if self.subsets == "all" else self.subsets):
            for position, task in enumerate(subset):
                if task not in self.tasks:
                    yield Mistake(("subsets", index, position), registry.unknown(task, list(self.tasks)), task)
            key = frozenset(subset)
            if not subset or len(key) != len(subset) or key in seen:
                yield Mistake(("subsets", index), "is empty, or repeats a task or a subset", list(subset))
            seen.add(key)

    def _unfit_targets(self) -> Iterator[Mistake]:
        """Targets that the source does not offer, if it declares them (``TARGETS``) whatever the raw files."""
        if self.data.name not in registry.names("sources"):
            return
        declared = getattr(registry.load("sources", self.data.name), "TARGETS", None)
        known = None if declared is None else [info.name for info in declared]
        for name, task in self.tasks.items():
            if known is not None and task.target not in known:
                yield Mistake(("tasks", name, "target"), registry.unknown(task.target, known), task.target)

    def _unfit_probes(self) -> Iterator[Mistake]:
        last = self.train.epochs
        for index, epoch in enumerate(self.probes.epochs if self.probes else ()):
            if epoch != "end" and not 0 <= epoch <= last:
                text = f"expected 'end', or an epoch of 0 to train.epochs, which is {last}"
                yield Mistake(("probes", "epochs", index), text, epoch)

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds: as listed, or 0, 1, … if a number was given."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds
