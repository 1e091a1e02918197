"""Trace with the Gauss-Newton part of the Hessian as control variate; needs no Lanczos run.

Of a squared error H = 2 Σ ∇r ∇rᵀ + 2 Σ r ∇²r. The first part makes the outliers of a trained network, and
with them nearly all of the variance of Hutchinson's estimator; its trace 2 Σ ‖∇r‖² is exact from one
gradient per graph and task, and its form 2 Σ (∇r·v)² comes out of the pass that gives vᵀHv. Whether it helps a
task is decided by samples that are not used again; where it does not, this is Hutchinson's estimator.
Sources: Schraudolph 2002 (doi:10.1162/08997660260028683) for the parts; Glasserman 2003, 4.1, for control variates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from ensemble_mtl.lazy import lazy_import
from ensemble_mtl.probes.trace.base import Control, Stopping, Trace, two_stages

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.probes.forms import Forms
    from ensemble_mtl.probes.lanczos import Tridiagonal
else:
    torch = lazy_import("torch")


CHOICE = 4
"""Samples that decide whether the control variate is used."""


class Options(Stopping):
    """When it stops."""

    name: Literal["gauss_newton"] = "gauss_newton"


def control(options: Options, krylov: Tridiagonal, vectors: Iterable[Tensor]) -> Control:
    """Nothing is taken from the Lanczos run; ``shares`` tell the number of vectors."""
    return Control(torch.zeros_like(krylov.alpha[:, 0]), krylov.alpha.new_zeros(1, sum(1 for _ in vectors)))


def estimate(
    options: Options, vectors: Iterable[Tensor], forms: Forms, controls: Sequence[Control], norms: Tensor
) -> Trace:
    """As many samples as the options ask for (:func:`ensemble_mtl.probes.trace.base.two_stages`)."""
    most = controls[0].shares.shape[1]
    left = iter(vectors)
    spent = CHOICE if most >= CHOICE + 2 else 0
    helps = _helps([forms.with_gauss_newton(next(left)) for _ in range(spent)], norms)
    exact = forms.gauss_newton_trace() if helps.any() else None

    def samples() -> Iterator[Tensor]:
        for v in left:
            if exact is None:
                yield forms.quadratic_forms(v)
            else:
                form, part = forms.with_gauss_newton(v)
                yield form - torch.where(helps, part, 0.0)

    known = torch.zeros_like(norms, dtype=torch.float64) if exact is None else torch.where(helps, exact, 0.0)
    return two_stages(samples(), known, most - spent, options, norms, spent)


def _helps(pairs: Sequence[tuple[Tensor, Tensor]], norms: Tensor) -> Tensor:
    """``[T, M]`` whether vᵀHv varies less without vᵀCv."""
    if not pairs:
        return torch.zeros_like(norms, dtype=torch.bool)
    form, part = (torch.stack(column) for column in zip(*pairs, strict=True))
    return (form - part).var(0) < form.var(0)
