"""Trace with the Lanczos basis as control variate.

The few outliers of a trained network's Hessian carry its trace, and nearly all of the variance of
Hutchinson's estimator. Lanczos has found them: with ``AQ = QT + β q eᵀ``,

    tr A = tr T + E vᵀ(I − QQᵀ)A(I − QQᵀ)v,

and the form of the projected vector follows from vᵀAv itself. So one vector serves every task.
Source: Meyer et al. 2021 (Hutch++, arXiv:2010.09649), here with a Krylov basis instead of a random one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.curvature.trace.base import Control, Stopping, Trace, two_stages

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.core.runtime import rounding
    from ensemble_mtl.curvature.forms.quadratic import Forms
    from ensemble_mtl.curvature.lanczos import Tridiagonal
else:
    torch = lazy_import("torch")
    rounding = lazy_import("ensemble_mtl.core.runtime.rounding")


BLOCK = 10
"""Vectors whose shares are taken at once."""


class Options(Stopping):
    """When it stops.

    Attributes:
        max_samples: no more than these, even if ``probes.trace_samples`` is larger: what the basis knows of each
            is computed beforehand, since the bases of all tasks do not fit into memory together.
    """

    name: Literal["deflated"] = "deflated"
    max_samples: Annotated[int, Field(ge=2)] = 64


def control(options: Options, krylov: Tridiagonal, vectors: Iterable[Tensor]) -> Control:
    """Each vector's share of vᵀAv in the Krylov space and in its coupling to the rest."""
    left, shares = islice(vectors, options.max_samples), []
    while block := list(islice(left, BLOCK)):
        v = torch.cat(block).mT.expand(len(krylov.basis), -1, -1)
        a = rounding.product(krylov.basis, v).double()
        outside = rounding.product(krylov.following[:, None], v)[:, 0].double()
        within = (a * rounding.product(krylov.matrix, a)).sum(1)
        shares.append(within + 2 * krylov.coupling[:, None] * a[:, -1] * outside)
    return Control(krylov.alpha.sum(1), torch.cat(shares, dim=1))


def estimate(
    options: Options, vectors: Iterable[Tensor], most: int, forms: Forms, controls: Sequence[Control], norms: Tensor
) -> Trace:
    """As many samples as the options ask for (:func:`ensemble_mtl.curvature.trace.base.two_stages`)."""
    shares = torch.stack([one.shares for one in controls])
    known = torch.stack([one.known for one in controls])
    counted = enumerate(islice(vectors, shares.shape[2]))
    samples = (forms.quadratic_forms(v) - shares[:, :, index] for index, v in counted)
    return two_stages(samples, known, shares.shape[2], options, norms)
