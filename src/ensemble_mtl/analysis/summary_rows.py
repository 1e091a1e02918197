"""The rows of a summary's lists, one model per kind of row.

The statistics that rows hold are defined beside the code that computes them: :class:`Spread` in ``statistics.py``,
:class:`Comparison` in ``comparison.py``, :class:`RankCorrelation` in ``rank_correlation.py``.
"""

from __future__ import annotations

from typing import Literal, get_args

from ensemble_mtl.analysis.comparison import Comparison
from ensemble_mtl.analysis.json_model import Count, JsonModel, Number
from ensemble_mtl.analysis.rank_correlation import RankCorrelation
from ensemble_mtl.analysis.statistics import MeanAndDeviation, Spread
from ensemble_mtl.data.graph import Level
from ensemble_mtl.study.plan import Subset

Metric = Literal["rmse", "mae", "rmse_scaled", "mae_scaled"]
METRICS: tuple[Metric, ...] = get_args(Metric)
COMPARED: Metric = "rmse_scaled"
"""The metric of all comparisons between subsets, which is that of Table 1 of Lupo Pasini 2022."""
Epoch = int | Literal["end"]
"""An epoch at which members were probed; ``"end"`` is the last epoch of each, which differs with early stopping."""
PairMeasure = Literal[
    "gradient_cosine", "energy_wasserstein", "wasserstein", "outlier_wasserstein", "eigenvector_overlap",
    "trace_ratio", "trace_difference",
]  # fmt: skip
"""A measure of how similar or different two tasks are, by the name of its field in :class:`CurvaturePair`."""
MismatchMeasure = Literal[
    "gradient_cosine", "energy_wasserstein", "wasserstein", "eigenvector_overlap", "trace_difference"
]
"""The measures of mismatch, that is of how different two tasks are."""


class SubsetRow(JsonModel):
    """The members of one subset, trained on one share of the training part."""

    subset: Subset
    """The tasks that the members learn."""
    fraction: float
    """The share of the training part that the members are trained on, above 0 and at most 1."""


class TaskRow(SubsetRow):
    """One task of the members of one subset."""

    task: str
    """The task that the numbers refer to, one of the subset."""


class ErrorCell(TaskRow):
    """Test errors of one task, in one metric, over the members of one subset."""

    metric: Metric
    """Root mean square or mean absolute error; "_scaled" is in the units that values are scaled to in training."""
    unit: str
    """The unit of the errors: that of the task (empty if it has none), or "scaled"."""
    planned: Count
    """Number of planned members, with or without a result."""
    error: Spread
    """Mean test error over the members with a result, in `unit`."""
    values: tuple[float, ...]
    """The test error of each member, in `unit`."""
    ids: tuple[str, ...]
    """The id of each member, in the order of `values`."""


class WallClockRow(SubsetRow):
    """Training time per member: the time of the stack that it was trained in, divided by the stack's members."""

    mean_seconds: Number
    """Mean training time over members, in seconds; null without members."""
    std_seconds: Number
    """Sample standard deviation (ddof 1) of the training time between stacks, in seconds; null for fewer than two."""
    members: Count
    """Number of members with a result."""
    stacks: Count
    """Number of stacks that the members were trained in; members of one stack share its time equally."""
    stack_sizes: tuple[int, ...]
    """The numbers of members that a stack had, each once and in rising order."""
    epochs_mean: Number
    """Mean number of epochs that a member was trained for; null without members."""
    devices: tuple[str, ...]
    """The devices that the times were measured on, each once."""
    num_parameters: int | None
    """Number of weights of a member; null without members."""


class CostRow(SubsetRow):
    """The cost of one multi-task model against that of the single-task models that it replaces."""

    single_task_seconds: float
    """Sum of the single-task models' mean training times, in seconds."""
    multi_task_seconds: Number
    """Mean training time of the multi-task model, in seconds."""
    ratio: Number
    """single_task_seconds over multi_task_seconds, a pure number; above 1 the multi-task model is cheaper."""
    ratio_std: Number
    """Standard deviation of the ratio, propagated from those between stacks; null if one of the times has none."""
    single_task_parameters: Count
    """Sum of the single-task models' numbers of weights."""
    multi_task_parameters: Count
    """Number of weights of the multi-task model."""
    same_conditions: bool
    """Whether all models were timed on one kind of device, in stacks of one size, without heads for other tasks."""


class ComparisonRow(TaskRow):
    """The error of one task, learned together with its subset, against learning it alone."""

    metric: Metric
    """The metric that is compared, which gives the difference its unit."""
    against_alone: Comparison
    """Errors of the task together minus its errors alone; Holm's correction is over all rows of this list."""


class TaskConvergence(JsonModel):
    """Signs that the training of one task's members was not over."""

    task: str
    """The task that the numbers refer to."""
    members: Count
    """Number of members with a result that learn the task."""
    no_better: Count
    """Number of members whose test RMSE is no smaller than that of the best constant prediction."""
    correlation: RankCorrelation
    """Rank correlation of epochs trained and test error within a subset, over the members that early stopping ended.

    "falling" means that members that trained longer have smaller errors. Holm's correction is over the tasks.
    """


class CurvatureRow(TaskRow):
    """The Hessian of one task's loss with respect to the shared parameters, at one epoch, over members."""

    epoch: Epoch
    """The probed epoch, 0 before training; "end" is the last epoch of each member."""
    epoch_mean: float
    """Mean over members of the epoch at which they were probed."""
    trace_mean: Number
    """Mean over members of the estimated trace, in units of the loss; null if an estimate overflowed."""
    trace_std: Number
    """Sample standard deviation (ddof 1) of the trace over members, in units of the loss; null for a single member."""
    trace_sem_mean: Number
    """Mean over members of the standard error of one trace estimate, in units of the loss; null if one has none."""
    eig_min_mean: Number
    """Mean over members of the smallest eigenvalue, as the Lanczos method estimates it; null if one overflowed."""
    eig_max_mean: Number
    """Mean over members of the largest eigenvalue, as the Lanczos method estimates it; null if one overflowed."""
    members: Count
    """Number of probed members."""
    num_parameters: Count
    """Number of shared parameters, which is the number of rows of the Hessian."""
    num_graphs: Count
    """Number of graphs of the probe set."""


class CurvaturePair(SubsetRow):
    """How similar or different the losses of two tasks of a subset are, at one epoch, over members."""

    tasks: tuple[str, str]
    """The two tasks, in the order of the configuration."""
    epoch: Epoch
    """The probed epoch, 0 before training; "end" is the last epoch of each member."""
    epoch_mean: float
    """Mean over members of the epoch at which they were probed."""
    members: Count
    """Number of probed members; a measure may be defined for fewer of them."""
    gradient_cosine: MeanAndDeviation
    """Cosine of the angle between the gradients of the two losses, −1 to 1; below 0 they conflict."""
    energy_wasserstein: MeanAndDeviation
    """Wasserstein-1 distance of the spectra, weighted by λ², each λ over its spectrum's largest |λ|; a pure number."""
    wasserstein: MeanAndDeviation
    """Wasserstein-1 distance of the two spectral densities, in the unit of eigenvalues."""
    outlier_wasserstein: MeanAndDeviation
    """Wasserstein-1 distance of the converged leading eigenvalues, equally many of each, in the unit of eigenvalues."""
    eigenvector_overlap: MeanAndDeviation
    """Overlap of the subspaces of the leading eigenvectors, from 0 to 1, where they are equal; a pure number."""
    trace_ratio: MeanAndDeviation
    """First trace over second, a pure number, over the members whose second trace has no 0 in its 95 % interval."""
    trace_difference: MeanAndDeviation
    """|t₁ − t₂| / (|t₁| + |t₂|) for the two traces, 0 to 1; it is 1 where their signs differ."""

    def measure(self, name: PairMeasure) -> MeanAndDeviation:
        """The measure whose field is called ``name``."""
        value: MeanAndDeviation = getattr(self, name)
        return value


class MismatchPoint(JsonModel):
    """A task in a multi-task subset: how much its error falls, and how different its partners are."""

    subset: Subset
    """The tasks that are learned together."""
    task: str
    """The task whose gain it is."""
    gain_percent: float
    """Fall of the task's test error against learning it alone, in per cent; negative if the error rises."""
    mismatch: float
    """Mean of the measure over partners and members, in its unit; for cosine and overlap, 1 minus that mean."""


class MismatchRow(JsonModel):
    """Whether a measure of mismatch, at one epoch, is related to the gain of tasks from learning together."""

    measure: MismatchMeasure
    """The measure of mismatch, which is a field of the rows of `curvature_pairs`."""
    epoch: Epoch
    """The probed epoch, 0 before training; "end" is the last epoch of each member."""
    fraction: float
    """The share of the training part of the members in these points, above 0 and at most 1."""
    values: tuple[MismatchPoint, ...]
    """The points that are correlated, one per task and multi-task subset."""
    correlation: RankCorrelation
    """Rank correlation of mismatch and gain; "falling": similar tasks gain more. Holm's correction is over the list."""


class WeightingEffect(TaskRow):
    """Test errors of one task under one weighting of the tasks, against those under the first weighting."""

    weighting: str
    """The name of the weighting."""
    metric: Metric
    """The metric of the errors."""
    planned: Count
    """Number of planned members, with or without a result."""
    error: MeanAndDeviation
    """Mean test error over the members with a result, in the units that values are scaled to in training."""
    seconds_per_epoch: Number
    """Mean over members of the training time per epoch, in seconds; null without members."""
    relative_seconds: Number
    """seconds_per_epoch over that of the first weighting, a pure number; null if one of them is null."""
    same_conditions: bool
    """Whether both weightings were timed on one kind of device, in stacks of one size."""
    against_first: Comparison | None
    """Errors minus those under the first weighting; null for the first itself. Holm's correction is over this list."""


class Correlation(JsonModel):
    """Pearson's correlation of the values of two tasks, over the data."""

    tasks: tuple[str, str]
    """The two tasks."""
    level: Level
    """Whether a data point is a graph (values of nodes are averaged) or a node."""
    pearson: Number
    """Pearson's r, −1 to 1; null if it is undefined."""
    conserved: bool
    """Whether one of the two sums to the same in every graph; there is then nothing to correlate over graphs."""
