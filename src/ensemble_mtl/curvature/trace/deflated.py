"""Trace with the Lanczos basis as control variate.

The few outliers of a trained network's Hessian carry its trace, and nearly all of the variance of Hutchinson's
estimator. A Lanczos run, which the spectral density takes anyway, has split them off: ``AQ = QT + β q eᵀ``, so that

    tr A = tr T + E vᵀ(I − QQᵀ)A(I − QQᵀ)v

over random sign vectors v. The form of the projected vector follows from vᵀAv without another product. With a = Qᵀv,

    vᵀ(I − QQᵀ)A(I − QQᵀ)v = vᵀAv − (aᵀTa + 2 β a_K (q·v)),

where a_K is the last component of a. The term in parentheses is the control variate. It differs by task, but the
vector v does not: so one vector, and one pass for vᵀAv, serves every task.
Source: Meyer et al. 2021 (Hutch++, arXiv:2010.09649), here with a Krylov basis instead of a random one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.curvature.trace.base import ControlVariate, TraceEstimate
from ensemble_mtl.curvature.trace.stopping import Stopping, two_stages

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
"""Vectors whose control variates are computed at once."""


class Options(Stopping):
    """When sampling ends.

    Attributes:
        max_samples: the largest number of samples, even if ``probes.trace_samples`` is larger. The control variate of
            each is computed beforehand, since the bases of all tasks do not fit into memory together.
    """

    name: Literal["deflated"] = "deflated"
    max_samples: Annotated[int, Field(ge=2)] = 64


def control_variate(options: Options, krylov: Tridiagonal, vectors: Iterable[Tensor]) -> ControlVariate:
    """Each vector's share of vᵀAv in the Krylov space and in its coupling to the rest."""
    remaining, shares = islice(vectors, options.max_samples), []
    while block := list(islice(remaining, BLOCK)):
        v = torch.cat(block).mT.expand(len(krylov.basis), -1, -1)  # one vector per column, [M, P, block]
        # The control variate aᵀTa + 2 β a_K (q·v), with a = Qᵀv ``[M, K, block]``
        a = rounding.product(krylov.basis, v).double()
        outside = rounding.product(krylov.next_vector[:, None], v)[:, 0].double()  # q·v
        within = (a * rounding.product(krylov.matrix, a)).sum(1)
        shares.append(within + 2 * krylov.coupling[:, None] * a[:, -1] * outside)
    return ControlVariate(krylov.alpha.sum(1), torch.cat(shares, dim=1))


def estimate(
    options: Options,
    vectors: Iterable[Tensor],
    max_samples: int,
    forms: Forms,
    controls: Sequence[ControlVariate],
    norms: Tensor,
) -> TraceEstimate:
    """As many samples as the options ask for (:func:`ensemble_mtl.curvature.trace.stopping.two_stages`)."""
    values = torch.stack([control.values for control in controls])
    expectation = torch.stack([control.expectation for control in controls])
    counted = enumerate(islice(vectors, values.shape[2]))
    samples = (forms.quadratic_forms(v) - values[:, :, index] for index, v in counted)
    return two_stages(samples, expectation, values.shape[2], options, norms)
