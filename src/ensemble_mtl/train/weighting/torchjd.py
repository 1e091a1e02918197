"""One gradient of several, by an aggregator of TorchJD (Quinton and Rey 2024, arXiv:2406.16232; torchjd.org).

The tasks' gradients of the shared parameters, the rows of a Jacobian, are combined for each member; each head gets
its own task's gradient. Aggregators have torchjd's defaults. Cost: a backward pass per task in place of one for
all, and the aggregator's own, which is per member and step.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveFloat, field_validator

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

Aggregator = Literal["upgrad", "pcgrad", "mgda", "cagrad"]

_NEEDS = {"upgrad": ("qpsolvers", "quadprog"), "cagrad": ("cvxpy", "clarabel")}
"""Packages besides torchjd itself."""


class Options(registry.Options):
    """Which aggregator.

    Attributes:
        aggregator: ``upgrad`` (Quinton and Rey 2024), ``pcgrad`` (Yu et al. 2020), ``mgda`` (Désidéri 2012; Sener and
            Koltun 2018) or ``cagrad`` (Liu et al. 2021).
        c: radius of CAGrad's ball around the mean gradient, relative to it; of use to ``cagrad`` alone.
    """

    name: Literal["torchjd"] = "torchjd"
    aggregator: Aggregator
    c: PositiveFloat = 0.5

    @field_validator("aggregator")
    @classmethod
    def _is_installed(cls, value: str) -> str:
        missing = [name for name in ("torchjd", *_NEEDS.get(value, ())) if find_spec(name) is None]
        if missing:
            needs = ", ".join(missing)
            raise ValueError(
                f"got {value!r}, which needs {needs}, not installed here; pip install 'ensemble-mtl[torchjd]'"
            )
        return value


def start(config: Any, num_members: int, num_tasks: int) -> dict[str, Tensor]:
    """There is nothing to remember."""
    return {}


def combiner(config: Any) -> Callable[[Tensor, int], Tensor]:
    """A function of gradients ``[T, P]`` and the seed of PCGrad's random order, to one gradient ``[P]``."""
    aggregate = _aggregator(config.weighting)

    def combined(gradients: Tensor, seed: int) -> Tensor:
        # torchjd takes gradients whose squares sum to less than 1e-4 for 0, which those of a trained network are
        size = gradients.double().norm().to(gradients.dtype)
        if not size.isfinite() or size == 0:
            return gradients.sum(0)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return size * aggregate(gradients / size)

    return combined


def _aggregator(options: Options) -> Callable[[Tensor], Tensor]:
    from torchjd import aggregation

    made: Callable[[Tensor], Tensor]
    match options.aggregator:
        case "upgrad":
            made = aggregation.UPGrad()
        case "pcgrad":
            made = aggregation.PCGrad()
        case "mgda":
            made = aggregation.MGDA()
        case "cagrad":
            made = aggregation.CAGrad(options.c)
    return made
