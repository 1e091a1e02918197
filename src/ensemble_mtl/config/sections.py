"""The sections of a configuration, each with its defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from ensemble_mtl.config import registry
from ensemble_mtl.config.checked import DISTINCT, NOT_IDENTITY, Checked
from ensemble_mtl.config.components import (
    DensityChoice,
    FigureName,
    LauncherChoice,
    OptimizerChoice,
    ScheduleChoice,
    TraceChoice,
    TrunkChoice,
    WeightingChoice,
)
from ensemble_mtl.core.elements import PROTON_NUMBERS
from ensemble_mtl.core.units import BOHR_IN_ANGSTROM


class GraphConfig(Checked):
    """How atoms become a graph. Leave this section out for sources that give their own bonds."""

    radius: PositiveFloat = 7.0
    """Two atoms are neighbours, joined by an edge, up to this distance, in ``radius_unit``."""
    radius_unit: Literal["angstrom", "bohr"] = "angstrom"
    """Unit of ``radius``."""
    periodic: bool = False
    """Whether atoms are neighbours of periodic images too, which needs a source that gives the unit cell."""
    node_features: Literal["proton_number", "one_hot"] = "proton_number"
    """The input of each atom: its normalised proton number, or a one-hot vector with an entry per element."""
    elements: Annotated[Literal["found"] | tuple[str, ...], DISTINCT] | None = None
    """The elements of ``one_hot``, in the order of its entries, or ``found`` for the elements that the data hold."""
    bonds: Annotated[Literal["found"] | tuple[str, ...], DISTINCT] | None = None
    """The kinds of bonds, such as ``[single, double]``, that become features of edges, one entry per kind; or ``found``
    for the kinds that the data hold. It is for sources that give their own bonds. Without it edges have no features."""

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


class TaskConfig(Checked):
    """One property to learn."""

    target: str
    """The name of the target in the data source, such as ``mixing_enthalpy``."""
    label: Annotated[str | None, NOT_IDENTITY] = None
    """The name that the report shows for the task; the target's name if left out."""
    weight: PositiveFloat = 1.0
    """The weight of the task's loss, in training under the weighting ``fixed`` and in the validation loss under all."""


class NormalizeConfig(Checked):
    """Scaling of inputs and targets before training."""

    method: Literal["minmax", "standard"] = "minmax"
    """``minmax`` scales to the range from 0 to 1, ``standard`` to mean 0 and standard deviation 1."""
    fit_on: Literal["train", "all"] = "train"
    """The graphs that the scale is taken from: the training part, or all of them as in Lupo Pasini 2022."""


class ModelConfig(Checked):
    """A trunk that all tasks share, with one head per task."""

    trunk: TrunkChoice = "convolutions"
    """The part of the network that the tasks share, with its options, the width among them."""
    heads: tuple[PositiveInt, ...] = (50, 25)
    """The widths of the fully connected layers of each head, before its output."""
    edge_basis: PositiveInt | None = None
    """The number of Gaussians that expand the length of an edge into features; without it the length is no feature."""


class StoppingConfig(Checked):
    """Early stopping on the validation loss."""

    patience: PositiveInt = 10
    """A member stops after this many epochs without a new lowest validation loss."""


class TrainConfig(Checked):
    """Optimisation of one member."""

    epochs: PositiveInt = 200
    """The largest number of passes through the training part."""
    batch_size: PositiveInt = 64
    """The number of graphs per step of the optimiser."""
    optimizer: OptimizerChoice = "adam"
    """How a gradient becomes a step, with its learning rate ``lr``."""
    schedule: ScheduleChoice = "constant"
    """How the learning rate changes from epoch to epoch."""
    weighting: WeightingChoice = "fixed"
    """How the losses of the tasks are combined to train a multi-task member. To compare several, use ``weightings``."""
    early_stopping: StoppingConfig | None = Field(default_factory=StoppingConfig)
    """When a member stops before the last epoch; ``null`` lets every member train to the end."""
    dtype: Literal["float32", "float64"] = "float32"
    """The precision of the weights and of all that is computed in training."""
    device: Annotated[Literal["auto", "cpu", "cuda"], NOT_IDENTITY] = "auto"
    """Where members train; ``auto`` is a GPU if there is one."""
    checkpoint_seconds: Annotated[PositiveFloat, NOT_IDENTITY] = 60.0
    """The shortest time between two checkpoints of a member, in seconds. The last epoch always has one."""
    test_every: Annotated[PositiveInt | None, NOT_IDENTITY] = None
    """Evaluate the test part too every so many epochs, for the curves of the report only; training does not use it."""


def _at_least_one(epochs: tuple[int | str, ...]) -> tuple[int | str, ...]:
    if not epochs:
        raise ValueError("expected at least one epoch, or `probes: null` for a study without probes")
    return epochs


class ProbeConfig(Checked):
    """How the curvature of each task's loss, with respect to the shared parameters, is measured."""

    epochs: Annotated[tuple[int | Literal["end"], ...], AfterValidator(_at_least_one), DISTINCT] = (0, "end")
    """The epochs at which to measure: 0 is before training, ``end`` is the member's last epoch."""
    graphs: PositiveInt = 64
    """The number of graphs in the probe set, which is drawn once from the training part."""
    reduction: Literal["mean", "sum"] = "mean"
    """The loss that is measured: the mean or the sum of the squared errors over the labels of the probe set."""
    trace: TraceChoice = "hutchinson"
    """The estimator of the trace of the Hessian."""
    trace_samples: PositiveInt = 100
    """The number of random vectors for the trace; the largest number, for an estimator that stops by itself."""
    density: DensityChoice = "quadrature"
    """The estimator of the spectral density, that is of how the eigenvalues are distributed."""
    lanczos_steps: Annotated[int, Field(ge=2)] = 30
    """The number of steps of a Lanczos run, at least 2, since the norm ‖H‖_F cannot be estimated from a single one."""
    lanczos_starts: PositiveInt = 1
    """The number of Lanczos runs from different start vectors. Their spread is the standard error; one run has none."""
    leading: PositiveInt = 5
    """The largest number of leading eigenvalues, with their eigenvectors, that are kept."""


class ReportConfig(Checked):
    """Which figures the report shows."""

    figures: Literal["all", "none"] | tuple[FigureName, ...] = "all"
    """The figures, by name. Drawing takes most of the time that a report needs; tables are always there."""

    @field_validator("figures")
    @classmethod
    def _existing_figures(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        choices = registry.names("report.figures")
        if wrong := [name for name in value if name not in choices] if isinstance(value, tuple) else []:
            raise ValueError(registry.unknown(wrong[0], choices))
        return value

    def shown(self) -> list[str]:
        """Names of the figures to draw, sorted."""
        choices = registry.names("report.figures")
        return choices if self.figures == "all" else [name for name in choices if name in self.figures]


class LaunchConfig(Checked):
    """Where the members are trained, and how they are grouped."""

    launcher: LauncherChoice = "local"
    """What trains the members: processes of this machine, ranks of an MPI job, or tasks of a Ray cluster."""
    members_per_shard: PositiveInt = 12
    """The largest number of members that are trained together in one stack."""
    mix_subsets: bool = False
    """Whether members of different subsets may share a stack, as many as ``members_per_shard`` allows. Every member of
    such a stack computes the heads of all tasks. That costs time on a CPU, but a GPU can be fastest with one stack of
    all members. Times of single members mean little then, and the report marks cost ratios as not like for like."""
    retries: NonNegativeInt = 1
    """How often a shard is given to a new worker after its worker died."""
