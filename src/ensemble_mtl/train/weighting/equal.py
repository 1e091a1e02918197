"""Weight 1 for every task; a configuration that gives a task another weight is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from ensemble_mtl.config import registry
from ensemble_mtl.config.checked import Mistake
from ensemble_mtl.config.sections import TrainConfig

if TYPE_CHECKING:
    from torch import Tensor

    from ensemble_mtl.config.study import StudyConfig


class Options(registry.Options):
    """Equal weights have no options."""

    name: Literal["equal"] = "equal"

    def misfits(self, study: StudyConfig) -> Iterator[Mistake]:
        """Yield a mistake for each task whose weight in the configuration is not 1, which contradicts equal weights."""
        for name, task in study.tasks.items():
            if task.weight != 1:
                text = f"expected 1, or no weight, since the weighting is {self.name!r}; 'fixed' takes weights"
                yield Mistake(("tasks", name, "weight"), text, task.weight)


def weights(config: TrainConfig, state: dict[str, Tensor], configured: Tensor) -> Tensor:
    """Return weights of 1 ``[M, T]``."""
    return configured.new_ones(configured.shape)
