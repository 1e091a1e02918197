"""Hutchinson's estimator with a fixed number of samples, as published in New 2022."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.curvature.trace.base import Control, Trace

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.curvature import hutchinson
    from ensemble_mtl.curvature.forms.quadratic import Forms
    from ensemble_mtl.curvature.lanczos import Tridiagonal
else:
    torch = lazy_import("torch")
    hutchinson = lazy_import("ensemble_mtl.curvature.hutchinson")


class Options(registry.Options):
    """Without options: ``probes.trace_samples`` says how many samples."""

    name: Literal["hutchinson"] = "hutchinson"


def control(options: Options, krylov: Tridiagonal, vectors: Iterable[Tensor]) -> Control:
    """Nothing is known."""
    return Control.nothing(krylov)


def estimate(
    options: Options, vectors: Iterable[Tensor], most: int, forms: Forms, controls: Sequence[Control], norms: Tensor
) -> Trace:
    """The mean over all ``vectors``."""
    samples = torch.stack([forms.quadratic_forms(v) for v in vectors], dim=2)
    num_tasks, num_members, count = samples.shape
    found = hutchinson.TraceEstimate(samples.flatten(0, 1))
    counts = torch.full((num_tasks, num_members), count)
    shape = (num_tasks, num_members)
    return Trace(found.mean.view(shape), found.sem.view(shape), counts - 1, counts)
