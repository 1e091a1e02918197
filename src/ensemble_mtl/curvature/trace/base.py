"""What every estimator of the trace offers.

* ``Options(registry.Options)``;
* ``control(options, krylov, vectors) -> Control`` — what one task's Lanczos run, which the spectral
  density has made anyway, tells of its trace and of the form vᵀAv of each vector that it looks at;
* ``estimate(options, vectors, most, forms, controls, norms) -> Trace`` — of all tasks at once, since
  one pass can give the forms of all. At most all of the ``most`` vectors, which are made when they are taken.

All members and tasks meet the same vectors, so that their estimates are paired. How many of them
a member uses is its own matter, and must not depend on the stack.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, NonNegativeFloat

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.curvature.lanczos import Tridiagonal
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class Control:
    """tr A = ``known`` + E(vᵀAv − ``shares``) over random sign vectors.

    Attributes:
        known: ``[M]`` float64.
        shares: ``[M, n]`` for each of the first n vectors, float64; n may be 0 where nothing is known.
    """

    known: Tensor
    shares: Tensor

    @classmethod
    def nothing(cls, krylov: Tridiagonal) -> Control:
        """Is known."""
        return cls(torch.zeros_like(krylov.alpha[:, 0]), krylov.alpha.new_zeros(len(krylov.alpha), 0))


@dataclass(frozen=True)
class Trace:
    """Estimates of T tasks and M members, each by its own number of samples.

    Attributes:
        value: ``[T, M]`` float64.
        sem: ``[T, M]`` standard error.
        degrees: ``[T, M]`` degrees of freedom of Student's t: the 95 % interval is value ± t · sem.
        samples: ``[T, M]`` forms that each used; the slowest decides how many are evaluated.
    """

    value: Tensor
    sem: Tensor
    degrees: Tensor
    samples: Tensor

    def values(self, task: int, member: int) -> dict[str, Any]:
        """The fields of a member's result."""
        return {
            "trace": float(self.value[task, member]),
            "trace_sem": float(self.sem[task, member]),
            "trace_degrees": int(self.degrees[task, member]),
            "trace_samples": int(self.samples[task, member]),
        }


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
    known: Tensor,
    most: int,
    options: Stopping,
    norms: Tensor,
    spent: int = 0,
) -> Trace:
    """``known`` plus the mean of as many samples as are needed, in two stages after Stein (1945).

    The pilot's deviation decides how many samples are taken and gives the standard error of
    all of them, with the pilot's degrees of freedom. An error taken from samples whose number
    was decided by their own error would be too small; but where outliers are left, forms are
    skewed, and a pilot may have met none. So where the pilot is a quarter of all or less, or
    where no error is asked for, all of them give it. Source: doi:10.1214/aoms/1177731088.

    Args:
        samples: each ``[T, M]``, float64, made when it is taken.
        known: ``[T, M]`` the trace without the samples' expectation.
        most: samples at most.
        options: when the standard error is small enough, and how many samples are the pilot.
        norms: ``[T, M]`` ‖H‖_F.
        spent: forms that were evaluated before.
    """
    pilot = min(options.pilot, most)
    taken: list[list[list[float]]] = []
    places = list(itertools.product(range(known.shape[0]), range(known.shape[1])))
    counts = torch.full(known.shape, most)
    for sample in samples:
        taken.append(sample.tolist())
        if len(taken) == pilot:
            counts = needed(taken, known, options, norms, most)
        if len(taken) >= pilot and len(taken) >= int(counts.max()):
            break
    value, sem, degrees = torch.empty_like(known), torch.empty_like(known), torch.empty_like(counts)
    decided = options.relative_error > 0 or options.norm_error > 0
    for t, m in places:
        own = [one[t][m] for one in taken[: int(counts[t, m])]]
        value[t, m] = float(known[t, m]) + spread(own)[0]
        known_by = own if len(own) >= 4 * pilot or not decided else own[:pilot]
        sem[t, m], degrees[t, m] = spread(known_by)[1] / math.sqrt(len(own)), len(known_by) - 1
    return Trace(value, sem, degrees, counts + spent)


def needed(pilot: list[list[list[float]]], known: Tensor, options: Stopping, norms: Tensor, most: int) -> Tensor:
    """``[T, M]`` samples after which the standard error is as small as asked, at least those of the pilot.

    Args:
        pilot: its samples, ``[T][M]`` each.
        known: see :func:`two_stages`.
        options: likewise.
        norms: likewise.
        most: likewise.
    """
    counts = torch.full(known.shape, len(pilot))
    for t, m in itertools.product(range(known.shape[0]), range(known.shape[1])):
        mean, deviation = spread([one[t][m] for one in pilot])
        trace = float(known[t, m]) + mean
        wanted = max(options.relative_error * abs(trace), options.norm_error * float(norms[t, m]))
        if math.isfinite(deviation) and deviation > wanted * math.sqrt(len(pilot)):
            counts[t, m] = most if wanted == 0 else min(most, math.ceil((deviation / wanted) ** 2))
    return counts
