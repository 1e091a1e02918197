"""How many samples a trace takes: as many as bring its standard error below what is asked for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, NonNegativeFloat

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.curvature.trace.base import TraceEstimate

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


def spread(samples: list[float]) -> tuple[float, float]:
    """Mean and standard deviation (ddof 1; infinite for one sample), rounded once whatever their number."""
    count = len(samples)
    if not all(map(math.isfinite, samples)):
        return math.nan, math.nan
    mean = math.fsum(samples) / count
    if count < 2:
        return mean, math.inf
    return mean, math.sqrt(math.fsum((x - mean) ** 2 for x in samples) / (count - 1))


class Stopping(registry.Options):
    """Stops when the standard error is below ``max(relative_error |tr|, norm_error ‖H‖_F)``.

    ``probes.trace_samples`` is then the largest number of samples.

    Attributes:
        relative_error: as a share of the trace.
        norm_error: as a share of the Frobenius norm, which decides where the trace is nearly zero.
        pilot: samples from which the number of all samples follows.
    """

    relative_error: NonNegativeFloat = 0.02
    norm_error: NonNegativeFloat = 0.002
    pilot: Annotated[int, Field(ge=2)] = 20


def two_stages(
    samples: Iterable[Tensor],
    expectation: Tensor,
    max_samples: int,
    options: Stopping,
    norms: Tensor,
    spent: int = 0,
) -> TraceEstimate:
    """``expectation`` plus the mean of as many samples as are needed, in two stages after Stein (1945).

    The pilot's deviation decides how many samples are taken and gives the standard error of
    all of them, with the pilot's degrees of freedom. An error taken from samples whose number
    was decided by their own error would be too small; but where outliers are left, forms are
    skewed, and a pilot may have met none. So where the pilot is a quarter of all or less, or
    where no error is asked for, all of them give it. Source: doi:10.1214/aoms/1177731088.

    Args:
        samples: each ``[T, M]``, float64, made when it is taken.
        expectation: ``[T, M]`` the trace without the samples' expectation, of control variates.
        max_samples: number of ``samples``, of which fewer may be used.
        options: when the standard error is small enough, and how many samples are the pilot.
        norms: ``[T, M]`` ‖H‖_F.
        spent: forms that were evaluated before.
    """
    pilot = min(options.pilot, max_samples)
    taken: list[list[list[float]]] = []
    places = list(itertools.product(range(expectation.shape[0]), range(expectation.shape[1])))
    counts = torch.full(expectation.shape, max_samples)
    for sample in samples:
        taken.append(sample.tolist())
        if len(taken) == pilot:
            counts = needed(taken, expectation, options, norms, max_samples)
        if len(taken) >= pilot and len(taken) >= int(counts.max()):
            break
    value, sem, degrees = torch.empty_like(expectation), torch.empty_like(expectation), torch.empty_like(counts)
    decided = options.relative_error > 0 or options.norm_error > 0
    for t, m in places:
        used = [sample[t][m] for sample in taken[: int(counts[t, m])]]
        value[t, m] = float(expectation[t, m]) + spread(used)[0]
        judged_by = used if len(used) >= 4 * pilot or not decided else used[:pilot]
        sem[t, m], degrees[t, m] = spread(judged_by)[1] / math.sqrt(len(used)), len(judged_by) - 1
    return TraceEstimate(value, sem, degrees, counts + spent)


def needed(
    pilot: list[list[list[float]]], expectation: Tensor, options: Stopping, norms: Tensor, max_samples: int
) -> Tensor:
    """``[T, M]`` samples after which the standard error is as small as asked, at least those of the pilot.

    Args:
        pilot: its samples, ``[T][M]`` each.
        expectation: see :func:`two_stages`, as for the others.
        options: when the standard error is small enough.
        norms: ``[T, M]`` ‖H‖_F.
        max_samples: the largest number.
    """
    counts = torch.full(expectation.shape, len(pilot))
    for t, m in itertools.product(range(expectation.shape[0]), range(expectation.shape[1])):
        mean, deviation = spread([sample[t][m] for sample in pilot])
        trace = float(expectation[t, m]) + mean
        wanted = max(options.relative_error * abs(trace), options.norm_error * float(norms[t, m]))
        if math.isfinite(deviation) and deviation > wanted * math.sqrt(len(pilot)):
            counts[t, m] = max_samples if wanted == 0 else min(max_samples, math.ceil((deviation / wanted) ** 2))
    return counts
