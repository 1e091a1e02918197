"""The records that ``ensemble-mtl reproduce NAME`` writes as ``NAME.json``, from which figures are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from ensemble_mtl.analysis.comparison import Verdict
from ensemble_mtl.analysis.json_model import Count, Interval, JsonModel, Number

Ensemble = tuple[float, Number, Count]
"""Mean test error of an ensemble, the standard deviation over members (ddof 1), and the number of members."""


class ExactHessian(JsonModel):
    """Properties of the Hessian from its exact matrix."""

    trace: float
    """The trace of the Hessian."""
    frobenius: float
    """The Frobenius norm of the Hessian."""
    eig_min: float
    """The smallest eigenvalue."""
    eig_max: float
    """The largest eigenvalue."""


class TraceEstimate(JsonModel):
    """An estimate of the trace."""

    value: float
    """The estimated trace."""
    sem: float
    """The standard error of the estimate."""
    samples: Count
    """Number of random vectors."""
    deviation: Number
    """The estimate minus the exact trace, in standard errors; null if the error is 0."""


class EstimatedHessian(JsonModel):
    """Properties of the Hessian as estimated from products with vectors."""

    trace: TraceEstimate
    """The estimate of the trace."""
    frobenius: float
    """The estimate of the Frobenius norm."""
    frobenius_sem: Number
    """The standard error of the norm; null for a single Lanczos run."""
    eig_min: float
    """The smallest Ritz value, which estimates the smallest eigenvalue."""
    eig_max: float
    """The largest Ritz value, which estimates the largest eigenvalue."""
    wasserstein: float
    """Wasserstein-1 distance to the exact spectrum, in the unit of the eigenvalues."""
    products: Count
    """Number of Hessian-vector products that the spectrum took."""


class Quadrature(JsonModel):
    """A spectral density, one Lanczos run per row."""

    nodes: tuple[tuple[Number, ...], ...]
    """The Ritz values of each run; a run that ended early is filled up with null."""
    weights: tuple[tuple[float, ...], ...]
    """The weights of the Ritz values, which sum to 1 in each run; a run that ended early is filled up with 0."""


class AppendixERecord(JsonModel):
    """The record of ``reproduce appendix-e``: the estimators on a Hessian that is known."""

    name: str
    """The reproduction's name."""
    options: Mapping[str, int]
    """The options that the example was computed with, by name."""
    agrees: bool
    """Whether Hutchinson's estimate of the trace is within `limit` standard errors of the exact one."""
    limit: float
    """The largest deviation from the exact trace that counts as agreement, in standard errors."""
    exact: ExactHessian
    """The exact properties of the Hessian."""
    published: EstimatedHessian
    """The estimates by Hutchinson's estimator and Lanczos quadrature, which the paper used."""
    deflated: EstimatedHessian
    """The estimates by deflated forms of both, which treat the part in the Lanczos basis exactly."""
    trace_samples: Annotated[tuple[float, ...], Field(min_length=2)]
    """Hutchinson's samples of the trace."""
    spectra: Mapping[str, Quadrature]
    """The name of an estimator to the spectral density that it gives."""
    eigenvalues: Annotated[tuple[float, ...], Field(min_length=2)]
    """The exact eigenvalues, in rising order."""


class Effect(JsonModel):
    """The change of a task's error by learning it together with other tasks, from the means of two ensembles."""

    percent: float
    """Change of the mean test error against the task alone, in per cent; negative if the error falls."""
    verdict: Verdict
    """Whether the task gains or loses, by Welch's test, Holm-corrected over the column."""


class Table1Cell(JsonModel):
    """One cell of the published table, and the corresponding error of a study."""

    subset: str
    """The tasks learned together, as the table calls them."""
    task: str
    """The task, as the table calls it."""
    published: Ensemble
    """The published mean test error (scaled RMSE), standard deviation and number of members."""
    found: Ensemble | None
    """The study's mean test error (scaled RMSE), standard deviation and number of members; null without members."""
    percent: Number
    """The study's mean minus the published one, in per cent of the latter; null if they cannot be compared."""
    percent_ci95: Interval
    """Ends of the 95 % interval of `percent`; null if they cannot be compared."""
    p_holm: Number
    """p-value of Welch's test, Holm-corrected over the cells; null if they cannot be compared."""
    agrees: bool | None
    """Whether p_holm is at least 0.05; null if they cannot be compared."""
    published_effect: Effect | None
    """The effect of learning together by the published means; null for a single task."""
    effect: Effect | None
    """The effect of learning together by the study's means; null for a single task, or without members."""
    study_subset: tuple[str, ...]
    """The tasks learned together, as the study calls them."""
    study_task: str
    """The task, as the study calls it."""


class Table1Record(JsonModel):
    """The record of ``reproduce table-1``: a study beside the published test errors."""

    name: str
    """The reproduction's name."""
    study: str
    """The study's name."""
    agrees: bool
    """Whether every cell agrees."""
    complete: bool
    """Whether every planned member of the study has a usable result."""
    graphs: Count
    """Number of graphs of the study's data."""
    epochs: Mapping[str, float]
    """A subset, as the table calls it, to the mean number of epochs that its members were trained for."""
    cells: Annotated[tuple[Table1Cell, ...], Field(min_length=1)]
    """The cells, in the table's order."""
