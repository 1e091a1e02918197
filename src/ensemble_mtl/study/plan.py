"""The plan of a study: its members, as a pure function of the configuration."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any

from ensemble_mtl.config import identity
from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.config.study import StudyConfig

Subset = tuple[str, ...]

FIXED = "fixed"
"""Name of the default weighting, which is also that of members with a single task, where nothing is to be weighted."""


@dataclass(frozen=True)
class Member:
    """One network to train.

    Attributes:
        id: short hash of everything that decides the member's result.
        subset: the tasks that it learns together, in the configuration's order.
        seed: seed of the initial weights.
        split: seed of the train/validation/test split.
        fraction: share of the training part that it is trained on, above 0 and at most 1.
        weighting: name of the weighting of the tasks' losses; ``fixed`` for a single task.
    """

    id: str
    subset: Subset
    seed: int
    split: int
    fraction: float
    weighting: str = FIXED

    @property
    def group(self) -> str:
        """Name of the subset and weighting, shared by members that differ only in seed, split and fraction."""
        return group_name(self.subset, self.weighting)

    def to_json(self) -> dict[str, Any]:
        """Return the member as JSON values."""
        return {**asdict(self), "subset": list(self.subset)}


def subsets(config: StudyConfig) -> list[Subset]:
    """Return the subsets of tasks, each in the configuration's order of tasks; all of them stand largest first."""
    tasks = list(config.tasks)
    if config.subsets != "all":
        return [tuple(sorted(subset, key=tasks.index)) for subset in config.subsets]
    sizes = range(len(tasks), 0, -1)
    return [subset for size in sizes for subset in itertools.combinations(tasks, size)]


def members(config: StudyConfig) -> list[Member]:
    """Return every member of the study: subset × weighting × split × fraction × seed, in this order.

    A member's id is a hash of its seed, split and fraction, and of all in the configuration that decides its result
    (:mod:`ensemble_mtl.config.identity`). It does not depend on where the study lies, on how it is launched, or on
    which other subsets and seeds the study has.
    """
    plan = []
    for subset in subsets(config):
        for weighting in weightings(config, subset):
            shared = identity.of_members(config, subset, train_config(config, weighting))
            grid = itertools.product(config.split_seeds, config.fractions, config.seed_list)
            for split, fraction, seed in grid:
                name = identity.digest({**shared, "seed": seed, "split_seed": split, "fraction": fraction})
                plan.append(Member(name, subset, seed, split, fraction, weighting))
    return plan


def weightings(config: StudyConfig, subset: Subset) -> list[str]:
    """Return the names of the weightings of the subset's members; the first is that of :func:`is_main`."""
    return list(config.weighting_options) if len(subset) > 1 else [FIXED]


def is_main(config: StudyConfig, member: Member) -> bool:
    """Return whether the member takes part in the comparison of multi-task with single-task learning."""
    return member.weighting == weightings(config, member.subset)[0]


def train_config(config: StudyConfig, weighting: str) -> TrainConfig:
    """Return how members with the weighting of this name are trained."""
    options = config.weighting_options.get(weighting) or TrainConfig().weighting
    return config.train.model_copy(update={"weighting": options})


def fingerprint(config: StudyConfig) -> str:
    """Return a hash of all that decides how long the study's members take on one machine."""
    return identity.digest(
        {
            **identity.of_members(config, tuple(config.tasks), config.train),
            "weightings": [identity.of(options) for options in config.weighting_options.values()],
            "subsets": subsets(config),
            "members_per_shard": config.launch.members_per_shard,
        }
    )


def label(subset: Subset | list[str]) -> str:
    """Return the subset as a word: ``HCM`` if all names are single letters, else ``gap+energy``."""
    return ("" if all(len(task) == 1 for task in subset) else "+").join(subset)


def group_name(subset: Subset | list[str], weighting: str) -> str:
    """Return the subset and, if it is not the default, the weighting, as a word: ``HCM``, ``HCM-dwa``."""
    return label(subset) + ("" if weighting == FIXED else f"-{weighting}")
