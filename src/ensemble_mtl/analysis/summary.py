"""The summary of a study: everything that the report shows, and that ``summary.json`` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ensemble_mtl.analysis.json_model import Count, JsonModel
from ensemble_mtl.analysis.summary_rows import (
    ComparisonRow,
    Correlation,
    CostRow,
    CurvaturePair,
    CurvatureRow,
    ErrorCell,
    MismatchRow,
    TaskConvergence,
    WallClockRow,
    WeightingEffect,
)
from ensemble_mtl.data.graph import Level
from ensemble_mtl.study.plan import Subset

VERSION: Literal[2] = 2
"""The version of the file's format; it rises with every change that programs which read the file must know of."""


class Task(JsonModel):
    """The property that a task predicts."""

    target: str
    """The target's name in the data."""
    label: str
    """The name that the report shows."""
    unit: str
    """The physical unit of the task's values; empty if it has none."""
    level: Level
    """Whether the property has one value per graph or one per node (atom)."""


class Counts(JsonModel):
    """Numbers of members by state, which add up to the total."""

    done: Count
    """Members whose result is verified and belongs to the study's data."""
    running: Count
    """Members that a process was training when the summary was made."""
    failed: Count
    """Members whose training failed."""
    missing: Count
    """Members without a usable result, damaged ones included."""
    total: Count
    """All planned members."""


class Conventions(JsonModel):
    """The conventions that all statistics of the summary follow."""

    confidence: float
    """The confidence level of every interval, 0 to 1; the significance level of every test is 1 minus it."""
    std_ddof: int
    """Delta degrees of freedom of every standard deviation: the sum of squares is divided by n − std_ddof."""
    min_units: Count
    """The smallest number of independent differences from which a comparison draws a verdict."""


class Parts(JsonModel):
    """Numbers of graphs in the parts of the study's first split."""

    train: Count
    """Graphs of the training part, before a fraction of it is taken."""
    val: Count
    """Graphs of the validation part."""
    test: Count
    """Graphs of the test part."""


class Scaling(JsonModel):
    """How a task's values are scaled for training; errors called scaled are in these units."""

    method: Literal["minmax", "standard"]
    """"minmax" scales to the range from 0 to 1, "standard" to mean 0 and standard deviation 1."""
    fit_on: Literal["train", "all"]
    """The graphs that the scale is taken from: the training part, or all graphs."""


class Data(JsonModel):
    """The data that the members were trained on."""

    graphs: Count
    """Number of graphs."""
    skipped_count: Count
    """Number of records of the raw data that were left out."""
    skipped: tuple[str, ...]
    """The first of the records that were left out, each with the reason, in words."""
    sha256: str
    """SHA-256 hash of the graph store's content, in hexadecimal digits."""
    parts: Parts | None
    """Numbers of graphs in the parts; null if the split cannot be read, or belongs to other data."""
    normalize: Scaling
    """How values are scaled for training."""
    split: str
    """The name of the method that divides the graphs into parts."""


class PlannedMember(JsonModel):
    """A member of the study's plan."""

    id: str
    """The member's id, which is also the name of its folder."""
    subset: Subset
    """The tasks that the member learns."""
    seed: int
    """The seed of the member's initial weights and batches."""
    split: int
    """The seed of the split."""
    fraction: float
    """The share of the training part that the member is trained on, above 0 and at most 1."""
    weighting: str
    """The weighting of the member's tasks."""


class FailedMember(PlannedMember):
    """A member whose training failed."""

    error: str
    """The message of the error that ended its training."""
    attempts: Count
    """Number of times that its training was begun."""


class DamagedMember(PlannedMember):
    """A member whose result cannot be used."""

    reason: str
    """What is wrong with the result, in words."""


class Convergence(JsonModel):
    """Signs that longer or different training would change the errors, over members at the largest fraction."""

    members: Count
    """Number of members with a result."""
    annealed: bool
    """Whether the learning rate fell until the last epoch; members are then expected to be best at the end."""
    best_at_end: Count
    """Number of members that trained for all epochs and had their lowest validation loss in the last one."""
    tasks: tuple[TaskConvergence, ...]
    """The signs of each task."""


class Provenance(JsonModel):
    """The software, devices and data that the results were made with."""

    ensemble_mtl: str
    """The version of ensemble-mtl that made this summary."""
    versions: Mapping[str, tuple[str, ...]]
    """The name of a package to its versions that the members were trained with, each once."""
    devices: tuple[str, ...]
    """The devices that the members were trained on, each once."""
    dtypes: tuple[str, ...]
    """The floating-point precisions that the members were trained in, each once."""
    data_sha256: str
    """SHA-256 hash of the graph store's content, in hexadecimal digits."""


class Summary(JsonModel):
    """The results of a study so far.

    Unless a field says otherwise, numbers refer to members of the main weighting, which is the first that the study
    compares, or the only one. A number that is not defined is null.
    """

    version: Literal[2]
    """The version of the format of this file."""
    study: str
    """The study's name."""
    description: str
    """The study's description, as its author wrote it."""
    synthetic: bool
    """Whether the data are generated, so that the results say nothing about a real material."""
    notes: tuple[str, ...]
    """Remarks of the data source on the data."""
    complete: bool
    """Whether every planned member has a usable result."""
    counts: Counts
    """Numbers of members by state, over all weightings."""
    tasks: Mapping[str, Task]
    """A task's name to what it predicts, in the order of the configuration."""
    subsets: tuple[Subset, ...]
    """The sets of tasks that are learned together, those of a single task included, in the order of the plan."""
    fractions: tuple[float, ...]
    """The shares of the training part that members are trained on, above 0 and at most 1."""
    splits: tuple[int, ...]
    """The seeds of the splits."""
    weightings: tuple[str, ...]
    """The weightings of the tasks, the main one first."""
    conventions: Conventions
    """The confidence level, the kind of deviation and the limit that all statistics share."""
    data: Data
    """The data, and how they are scaled and divided."""
    cells: tuple[ErrorCell, ...]
    """Test errors, a row per subset, fraction, task and metric."""
    wall_clock: tuple[WallClockRow, ...]
    """Training times, a row per subset and fraction."""
    cost: tuple[CostRow, ...]
    """Multi-task models against the single-task models that they stand for, a row per subset and fraction."""
    comparisons: tuple[ComparisonRow, ...]
    """The error of each task learned together against alone, a row per multi-task subset, fraction and task."""
    convergence: Convergence
    """Signs that the training was not over."""
    curvature: tuple[CurvatureRow, ...]
    """Traces and extreme eigenvalues of the Hessians, a row per subset, fraction, task and probed epoch."""
    curvature_pairs: tuple[CurvaturePair, ...]
    """How the losses of two tasks differ, a row per subset, fraction, pair of its tasks and probed epoch."""
    mismatch: tuple[MismatchRow, ...]
    """Whether tasks whose curvatures differ gain less, a row per measure and probed epoch, at the largest fraction."""
    weighting_effects: tuple[WeightingEffect, ...]
    """Each weighting against the first, a row per subset, fraction, task and weighting; empty if there is only one."""
    correlations: tuple[Correlation, ...]
    """How the tasks' values are correlated in the data, a row per pair of tasks and level."""
    missing: tuple[PlannedMember, ...]
    """Members without a usable result, damaged ones included, of all weightings."""
    failed: tuple[FailedMember, ...]
    """Members whose training failed, of all weightings."""
    damaged: tuple[DamagedMember, ...]
    """Members whose result cannot be used, of all weightings."""
    provenance: Provenance
    """Versions, devices and precisions that the results were made with."""
