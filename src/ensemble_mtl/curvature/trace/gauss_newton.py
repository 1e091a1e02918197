"""Trace with the Gauss-Newton part of the Hessian as control variate; needs no Lanczos run.

Of a squared error H = 2 Σ ∇r ∇rᵀ + 2 Σ r ∇²r. The first part makes the outliers of a trained network, and
with them nearly all of the variance of Hutchinson's estimator; its trace 2 Σ ‖∇r‖² is exact from the
gradients of single graphs, and its form 2 Σ (∇r·v)² comes out of the pass that gives vᵀHv. Whether it is worth
its cost is decided from samples that are not used again; where not, vᵀHv are averaged as they are.
Sources: Schraudolph 2002 (doi:10.1162/08997660260028683) for the parts; Glasserman 2003, 4.1, for control variates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.curvature.trace.base import Control, Stopping, Trace, needed, two_stages

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.curvature.forms.quadratic import Forms
    from ensemble_mtl.curvature.lanczos import Tridiagonal
else:
    torch = lazy_import("torch")


CHOICE = 4
"""Samples that decide whether the control variate is used."""


class Options(Stopping):
    """When it stops."""

    name: Literal["gauss_newton"] = "gauss_newton"


def control(options: Options, krylov: Tridiagonal, vectors: Iterable[Tensor]) -> Control:
    """Nothing is taken from the Lanczos run."""
    return Control.nothing(krylov)


def estimate(
    options: Options, vectors: Iterable[Tensor], most: int, forms: Forms, controls: Sequence[Control], norms: Tensor
) -> Trace:
    """As many samples as the options ask for (:func:`ensemble_mtl.curvature.trace.base.two_stages`)."""
    left = iter(vectors)
    spent = CHOICE if most >= CHOICE + 2 else 0
    helps = _helps([forms.with_gauss_newton(next(left)) for _ in range(spent)], forms, options, norms, most)
    known = torch.zeros_like(norms, dtype=torch.float64)
    if helps.any():
        known = torch.where(helps, forms.gauss_newton_trace(), known)

    def samples() -> Iterator[Tensor]:
        for v in left:
            if helps.any():
                form, part = forms.with_gauss_newton(v)
                yield form - torch.where(helps, part, 0.0)
            else:
                yield forms.quadratic_forms(v)

    return two_stages(samples(), known, most - spent, options, norms, spent)


def _helps(pairs: Sequence[tuple[Tensor, Tensor]], forms: Forms, options: Options, norms: Tensor, most: int) -> Tensor:
    """``[T, M]`` whether to take vᵀCv away: where it makes the variance smaller, in members that it saves samples.

    They scale with the variance, and a member's slowest task decides, since one pass gives the forms of all.
    """
    if not pairs:
        return torch.zeros_like(norms, dtype=torch.bool)
    forms_alone = [form for form, _ in pairs]
    share = _variance([form - part for form, part in pairs]) / _variance(forms_alone)
    share = share.nan_to_num(nan=1.0).clamp(max=1.0)
    plain = needed([form.tolist() for form in forms_alone], torch.zeros_like(share), options, norms, most).to(share)
    before, after = (count.clamp(min=min(options.pilot, most)).amax(0) for count in (plain, share * plain))
    worth = before - after
    return (share < 1) & (worth > forms.gauss_newton_cost(float(worth.max())))


def _variance(samples: Sequence[Tensor]) -> Tensor:
    """Of some ``[T, M]``, added up one by one: torch's sums round otherwise for one member than for several."""
    mean = sum(samples[1:], samples[0]) / len(samples)
    squares = [(one - mean).square() for one in samples]
    return sum(squares[1:], squares[0]) / (len(samples) - 1)
