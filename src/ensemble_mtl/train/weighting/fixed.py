"""The weights of the configuration, ``tasks.<name>.weight``: 1 unless given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ensemble_mtl.config import registry

if TYPE_CHECKING:
    from torch import Tensor


class Options(registry.Options):
    """None."""

    name: Literal["fixed"] = "fixed"


def start(config: Any, num_members: int, num_tasks: int) -> dict[str, Tensor]:
    """There is nothing to remember."""
    return {}


def weights(config: Any, state: dict[str, Tensor], given: Tensor) -> Tensor:
    """``[M, T]`` as given."""
    return given
