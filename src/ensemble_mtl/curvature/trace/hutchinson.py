"""Hutchinson's estimator with a fixed number of samples, as published in New 2022."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.curvature.trace.base import ControlVariate, TraceEstimate

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.curvature import sampling
    from ensemble_mtl.curvature.forms.quadratic import Forms
else:
    torch = lazy_import("torch")
    sampling = lazy_import("ensemble_mtl.curvature.sampling")


class Options(registry.Options):
    """This estimator has no options; ``probes.trace_samples`` is the number of samples."""

    name: Literal["hutchinson"] = "hutchinson"


def estimate(
    options: Options,
    vectors: Iterable[Tensor],
    max_samples: int,
    forms: Forms,
    controls: Sequence[ControlVariate],
    norms: Tensor,
) -> TraceEstimate:
    """The mean over all ``vectors``."""
    samples = torch.stack([forms.quadratic_forms(v) for v in vectors], dim=2)
    *shape, count = samples.shape
    estimates = sampling.SampleMean(samples.flatten(0, 1))
    counts = torch.full(shape, count)
    return TraceEstimate(estimates.mean.view(shape), estimates.sem.view(shape), counts - 1, counts)
