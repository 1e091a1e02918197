"""What every estimator of the trace offers.

* ``Options(registry.Options)``;
* ``control(options, krylov, vectors) -> Control`` — what one task's Lanczos run, which the spectral
  density has made anyway, tells of its trace and of the form vᵀAv of each vector;
* ``estimate(options, vectors, forms, controls, norms) -> Trace`` — of all tasks at once, since
  one pass can give the forms of all. At most all of ``vectors``.

All members and tasks meet the same vectors, so that their estimates are paired. How many of them
a member uses is its own matter, and must not depend on the stack.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Forms = Callable[["Tensor"], "Tensor"]
"""A vector ``[1, P]``, the same for all members, to vᵀAv of T tasks and M members ``[T, M]``, float64."""


@dataclass(frozen=True)
class Control:
    """tr A = ``known`` + E(vᵀAv − ``shares``) over random sign vectors.

    Attributes:
        known: ``[M]`` float64.
        shares: ``[M, n]`` for each of n vectors, float64.
    """

    known: Tensor
    shares: Tensor


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
