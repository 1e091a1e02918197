"""What every estimator of the spectral density offers.

It takes any operator (:mod:`ensemble_mtl.curvature.operator`). Members must not touch each other and draw the same
random vectors, or a result would depend on the stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ensemble_mtl.config import registry

if TYPE_CHECKING:
    import torch

    from ensemble_mtl.curvature.lanczos import Density
    from ensemble_mtl.curvature.operator import Operator


class DensityEstimator(Protocol):
    """A module with one estimator; its options come from ``probes.density``."""

    Options: type[registry.Options]

    def num_products(self, options: Any, num_steps: int, num_runs: int) -> int:
        """Hessian-vector products that ``estimate`` takes of each member."""

    def estimate(
        self, options: Any, num_steps: int, num_runs: int, operator: Operator, generator: torch.Generator
    ) -> Density:
        """The density from ``num_runs`` Lanczos runs of ``num_steps`` steps.

        Args:
            options: the module's ``Options``.
            num_steps: ``probes.lanczos_steps``.
            num_runs: ``probes.lanczos_starts``.
            operator: M symmetric matrices.
            generator: random start vectors are drawn from it.
        """


FAMILY = registry.Family[DensityEstimator]("curvature.density", DensityEstimator)
