"""Weight 1 for every task; refused where the configuration gives a task another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ensemble_mtl.config import registry
from ensemble_mtl.train.weighting import fixed

if TYPE_CHECKING:
    from torch import Tensor

EQUAL_ONLY = True
"""A given weight other than 1 contradicts it."""


class Options(registry.Options):
    """None."""

    name: Literal["equal"] = "equal"


start = fixed.start


def weights(config: Any, state: dict[str, Tensor], given: Tensor) -> Tensor:
    """``[M, T]`` ones."""
    return given.new_ones(given.shape)
