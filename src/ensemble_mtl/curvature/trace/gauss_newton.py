"""Trace with the Gauss-Newton part of the Hessian as control variate; it needs no Lanczos run.

The Hessian of a squared error Σ r² has two parts, H = C + R with C = 2 Σ ∇r ∇rᵀ and R = 2 Σ r ∇²r. C, the
Gauss-Newton part, makes the outliers of a trained network, and with them nearly all of the variance of Hutchinson's
estimator. So C is a control variate (:mod:`ensemble_mtl.curvature.forms.quadratic`):

    tr H = tr C + E(vᵀHv − vᵀCv)

over random sign vectors v. tr C = 2 Σ ‖∇r‖² is exact, from the gradients of single graphs; vᵀCv = 2 Σ (∇r·v)² comes out
of the pass that gives vᵀHv; and the difference vᵀRv varies little. Whether this is worth the cost of tr C is decided
from samples that are not used again. Where it is not, vᵀHv are averaged as they are.
Sources: Schraudolph 2002 (doi:10.1162/08997660260028683) for the parts; Glasserman 2003, 4.1, for control variates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.curvature.trace.base import ControlVariate, TraceEstimate
from ensemble_mtl.curvature.trace.stopping import Stopping, needed, two_stages

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.curvature.forms.quadratic import Forms
else:
    torch = lazy_import("torch")


CHOICE = 4
"""Samples that decide whether the control variate is used."""


class Options(Stopping):
    """When sampling ends."""

    name: Literal["gauss_newton"] = "gauss_newton"


def estimate(
    options: Options,
    vectors: Iterable[Tensor],
    max_samples: int,
    forms: Forms,
    controls: Sequence[ControlVariate],
    norms: Tensor,
) -> TraceEstimate:
    """As many samples as the options ask for (:func:`ensemble_mtl.curvature.trace.stopping.two_stages`)."""
    remaining = iter(vectors)
    spent = CHOICE if max_samples >= CHOICE + 2 else 0
    trial = [forms.with_gauss_newton(next(remaining)) for _ in range(spent)]
    used = _where_worth_its_cost(trial, forms, options, norms, max_samples)
    expectation = torch.zeros_like(norms, dtype=torch.float64)
    if used.any():
        expectation = torch.where(used, forms.gauss_newton_trace(), expectation)

    def samples() -> Iterator[Tensor]:
        for v in remaining:
            if used.any():
                form, gauss_newton_form = forms.with_gauss_newton(v)
                yield form - torch.where(used, gauss_newton_form, 0.0)
            else:
                yield forms.quadratic_forms(v)

    return two_stages(samples(), expectation, max_samples - spent, options, norms, spent)


def _where_worth_its_cost(
    trial: Sequence[tuple[Tensor, Tensor]], forms: Forms, options: Options, norms: Tensor, max_samples: int
) -> Tensor:
    """``[T, M]`` whether to subtract vᵀCv: where the variance gets smaller, in members whose saved samples repay tr C.

    The number of samples that an error takes is proportional to the variance. The slowest task of a member decides,
    since one pass gives the forms of all its tasks.

    Args:
        trial: vᵀHv and vᵀCv, each ``[T, M]``, of a few vectors; empty if there are too few to spare any.
        forms: quadratic forms of all tasks, and the cost of tr C.
        options: when sampling ends.
        norms: ``[T, M]`` ‖H‖_F.
        max_samples: the largest number of samples.
    """
    if not trial:
        return torch.zeros_like(norms, dtype=torch.bool)
    plain_forms = [form for form, _ in trial]
    # Var(vᵀHv − vᵀCv) / Var(vᵀHv): the share of the samples that the control variate leaves to be taken
    share = _variance([form - gauss_newton_form for form, gauss_newton_form in trial]) / _variance(plain_forms)
    share = share.nan_to_num(nan=1.0).clamp(max=1.0)
    zeros = torch.zeros_like(share)
    plain = needed([form.tolist() for form in plain_forms], zeros, options, norms, max_samples).to(share)
    before, after = (count.clamp(min=min(options.pilot, max_samples)).amax(0) for count in (plain, share * plain))
    saved = before - after
    return (share < 1) & (saved > forms.gauss_newton_cost(float(saved.max())))


def _variance(samples: Sequence[Tensor]) -> Tensor:
    """Variance (ddof 1) of samples ``[T, M]``, added up one by one.

    torch's own sums are rounded otherwise for one member than for several.
    """
    mean = sum(samples[1:], samples[0]) / len(samples)
    squares = [(sample - mean).square() for sample in samples]
    return sum(squares[1:], squares[0]) / (len(samples) - 1)
