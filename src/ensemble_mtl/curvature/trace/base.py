"""What every estimator of the trace offers, and the control variates that they have in common.

All members and tasks meet the same vectors, so that their estimates are paired. How many of them a member uses is its
own matter, and must not depend on the stack.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.curvature.forms.quadratic import Forms
    from ensemble_mtl.curvature.lanczos import Tridiagonal
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class ControlVariate:
    """A part of each form vᵀAv whose expectation is exact: tr A = ``expectation`` + E(vᵀAv − ``values``).

    The expectation is over random sign vectors v.

    Attributes:
        expectation: ``[M]`` float64.
        values: ``[M, n]`` for each of the first n vectors, float64; n is 0 where there is no control variate.
    """

    expectation: Tensor
    values: Tensor

    @classmethod
    def none(cls, krylov: Tridiagonal) -> ControlVariate:
        """No control variate, for the members of ``krylov``."""
        return cls(torch.zeros_like(krylov.alpha[:, 0]), krylov.alpha.new_zeros(len(krylov.alpha), 0))


@dataclass(frozen=True)
class TraceEstimate:
    """Traces of T tasks and M members, each estimated by its own number of samples.

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


class TraceEstimator(Protocol):
    """A module with one estimator; its options come from ``probes.trace``."""

    Options: type[registry.Options]

    def control_variate(self, options: Any, krylov: Tridiagonal, vectors: Iterable[Tensor]) -> ControlVariate:
        """What one task's Lanczos run, which the spectral density has made anyway, says of its trace.

        Left out, nothing is taken from it.

        Args:
            options: the module's ``Options``.
            krylov: the run.
            vectors: ``[1, P]`` each, those that ``estimate`` is given; they are made as they are taken.
        """

    def estimate(
        self,
        options: Any,
        vectors: Iterable[Tensor],
        max_samples: int,
        forms: Forms,
        controls: Sequence[ControlVariate],
        norms: Tensor,
    ) -> TraceEstimate:
        """The traces of all tasks at once, since one pass can give the forms of all.

        Args:
            options: the module's ``Options``.
            vectors: random signs ``[1, P]`` each, made as they are taken.
            max_samples: number of ``vectors``, of which fewer may be used.
            forms: gives vᵀHv of every task and member.
            controls: of each task, as made by ``control_variate``.
            norms: ``[T, M]`` ‖H‖_F.
        """


def control_variate(options: Any, krylov: Tridiagonal, vectors: Iterable[Tensor]) -> ControlVariate:
    """Nothing is taken from the Lanczos run."""
    return ControlVariate.none(krylov)


FAMILY = registry.Family[TraceEstimator]("curvature.trace", TraceEstimator, control_variate=control_variate)
