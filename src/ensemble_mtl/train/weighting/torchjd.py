"""One gradient from those of several tasks, by an aggregator of TorchJD (Quinton and Rey 2024, arXiv:2406.16232).

The tasks' gradients with respect to the shared parameters are the rows of a Jacobian, which the aggregator combines
for each member; each head gets the gradient of its task. Aggregators have torchjd's defaults. A step takes a backward
pass per task instead of one for all, and the time of the aggregator, once per member.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveFloat, field_validator

from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.core.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

Aggregator = Literal["upgrad", "pcgrad", "mgda", "cagrad"]

_NEEDS = {"upgrad": ("qpsolvers", "quadprog"), "cagrad": ("cvxpy", "clarabel")}
"""The packages that an aggregator needs besides torchjd itself."""


class Options(registry.Options):
    """Options of TorchJD's aggregators.

    Attributes:
        aggregator: ``upgrad`` (Quinton and Rey 2024), ``pcgrad`` (Yu et al. 2020), ``mgda`` (Désidéri 2012; Sener and
            Koltun 2018) or ``cagrad`` (Liu et al. 2021).
        c: radius of CAGrad's ball around the mean gradient, relative to its norm; only ``cagrad`` uses it.
    """

    name: Literal["torchjd"] = "torchjd"
    aggregator: Aggregator
    c: PositiveFloat = 0.5

    @field_validator("aggregator")
    @classmethod
    def _is_installed(cls, value: str) -> str:
        missing = [name for name in ("torchjd", *_NEEDS.get(value, ())) if find_spec(name) is None]
        if missing:
            raise ValueError(
                f"got {value!r}, which needs {', '.join(missing)}, not installed here; "
                "pip install 'ensemble-mtl[torchjd]'"
            )
        return value


def combiner(config: TrainConfig) -> Callable[[Tensor, int], Tensor]:
    """Return a function that combines gradients ``[T, P]`` to one ``[P]``; PCGrad's random order follows its seed."""
    aggregate = _aggregator(config.weighting)

    def combined(gradients: Tensor, seed: int) -> Tensor:
        # torchjd takes gradients for 0 if their squares sum to less than 1e-4, as those of a trained network do;
        # hence they are scaled to a norm of 1, and the combined one is scaled back
        norm = gradients.double().norm().to(gradients.dtype)
        if not norm.isfinite() or norm == 0:
            return gradients.sum(0)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return norm * aggregate(gradients / norm)

    return combined


def _aggregator(options: Options) -> Callable[[Tensor], Tensor]:
    """Return TorchJD's function from a Jacobian ``[T, P]`` to one gradient ``[P]``."""
    from torchjd import aggregation

    aggregator: Callable[[Tensor], Tensor]
    match options.aggregator:
        case "upgrad":
            aggregator = aggregation.UPGrad()
        case "pcgrad":
            aggregator = aggregation.PCGrad()
        case "mgda":
            aggregator = aggregation.MGDA()
        case "cagrad":
            aggregator = aggregation.CAGrad(options.c)
    return aggregator
