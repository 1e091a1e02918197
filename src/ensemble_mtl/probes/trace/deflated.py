"""Trace with the Lanczos basis as control variate.

The few outliers of a trained network's Hessian carry its trace, and nearly all of the variance of
Hutchinson's estimator. Lanczos has found them: with ``AQ = QT + β q eᵀ``,

    tr A = tr T + E vᵀ(I − QQᵀ)A(I − QQᵀ)v,

and the form of the projected vector follows from vᵀAv itself. So one vector serves every task.
Source: Meyer et al. 2021 (Hutch++, arXiv:2010.09649), here with a Krylov basis instead of a random one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat

from ensemble_mtl import registry
from ensemble_mtl.lazy import lazy_import
from ensemble_mtl.probes.trace.base import Control, Forms, Trace, spread

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl import rounding
    from ensemble_mtl.probes.lanczos import Tridiagonal
else:
    torch = lazy_import("torch")
    rounding = lazy_import("ensemble_mtl.rounding")


BLOCK = 10
"""Vectors whose shares are taken at once."""


class Options(registry.Options):
    """Stops when the standard error is below ``max(relative_error |tr|, norm_error ‖H‖_F)``.

    ``probes.trace_samples`` is then the largest number of samples.

    Attributes:
        relative_error: as a share of the trace.
        norm_error: as a share of the Frobenius norm, which decides where the trace is nearly zero.
        pilot: samples from which the number of all samples follows.
    """

    name: Literal["deflated"] = "deflated"
    relative_error: NonNegativeFloat = 0.02
    norm_error: NonNegativeFloat = 0.002
    pilot: Annotated[int, Field(ge=2)] = 10


def control(options: Options, krylov: Tridiagonal, vectors: Iterable[Tensor]) -> Control:
    """Each vector's share of vᵀAv in the Krylov space and in its coupling to the rest."""
    left, shares = iter(vectors), []
    while block := list(islice(left, BLOCK)):
        v = torch.cat(block).mT.expand(len(krylov.basis), -1, -1)
        a = rounding.product(krylov.basis, v).double()
        outside = rounding.product(krylov.following[:, None], v)[:, 0].double()
        within = (a * rounding.product(krylov.matrix, a)).sum(1)
        shares.append(within + 2 * krylov.coupling[:, None] * a[:, -1] * outside)
    return Control(krylov.alpha.sum(1), torch.cat(shares, dim=1))


def estimate(
    options: Options, vectors: Iterable[Tensor], forms: Forms, controls: Sequence[Control], norms: Tensor
) -> Trace:
    """Two stages after Stein (1945, doi:10.1214/aoms/1177731088).

    The pilot's deviation decides how many samples are taken and gives the standard error of
    all of them, with the pilot's degrees of freedom. An error taken from samples whose number
    was decided by their own error would be too small.
    """
    shares = torch.stack([one.shares for one in controls])
    known = torch.stack([one.known for one in controls])
    samples: list[list[list[float]]] = []
    needed: list[list[int]] = []
    most = shares.shape[2]
    pilot = min(options.pilot, most)
    for index, v in enumerate(vectors):
        samples.append((forms(v) - shares[:, :, index]).tolist())
        if index + 1 == pilot:
            needed = [
                [_needed(options, [s[t][m] for s in samples], float(known[t, m]), float(norms[t, m]), most)
                 for m in range(known.shape[1])]
                for t in range(known.shape[0])
            ]  # fmt: skip
        if needed and len(samples) >= max(map(max, needed)):
            break
    counts = torch.tensor(needed)
    value, sem = torch.empty_like(known), torch.empty_like(known)
    for t, m in torch.cartesian_prod(*map(torch.arange, known.shape)).tolist():
        own = [s[t][m] for s in samples[: needed[t][m]]]
        value[t, m] = float(known[t, m]) + spread(own)[0]
        sem[t, m] = spread(own[:pilot])[1] / math.sqrt(len(own))
    return Trace(value, sem, torch.full_like(counts, pilot - 1), counts)


def _needed(options: Options, pilot: list[float], known: float, norm: float, most: int) -> int:
    """Samples after which the standard error is as small as asked."""
    mean, deviation = spread(pilot)
    wanted = max(options.relative_error * abs(known + mean), options.norm_error * norm)
    if not math.isfinite(deviation) or deviation <= wanted * math.sqrt(len(pilot)):
        return len(pilot)
    return most if wanted == 0 else min(most, math.ceil((deviation / wanted) ** 2))
