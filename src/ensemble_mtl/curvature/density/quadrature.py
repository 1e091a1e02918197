"""Stochastic Lanczos quadrature (Ghorbani 2019, arXiv:1901.10159), as published in New 2022."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from ensemble_mtl.curvature import lanczos
    from ensemble_mtl.curvature.operator import Operator
else:
    lanczos = lazy_import("ensemble_mtl.curvature.lanczos")


class Options(registry.Options):
    """This estimator has no options; every run starts from another Gaussian vector."""

    name: Literal["quadrature"] = "quadrature"


def num_products(options: Options, num_steps: int, num_runs: int) -> int:
    """Number of Hessian-vector products of all runs together."""
    return num_runs * num_steps


def estimate(
    options: Options, num_steps: int, num_runs: int, operator: Operator, generator: torch.Generator
) -> lanczos.Density:
    """The mean of ``num_runs`` quadratures of ``num_steps`` steps each."""
    return lanczos.density(operator, num_steps, num_runs, generator)
