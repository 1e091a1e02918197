"""From a configuration to its members: a pure function, the same bytes every time."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.config.study import StudyConfig

Subset = tuple[str, ...]

FIXED = "fixed"
"""The default weighting, and that of members of one task, which have nothing to weigh."""

_NOT_IDENTITY = {"train": {"device", "checkpoint_seconds", "test_every"}}


@dataclass(frozen=True)
class Member:
    """One model to train.

    Attributes:
        id: short hash of everything that decides the member's result.
        subset: tasks learned together, in the configuration's order.
        seed: seed of the initialisation.
        split: seed of the train/validation/test split.
        fraction: share of the training part that is used.
        weighting: of the tasks' losses, by what it is called; ``fixed`` for a single task.
    """

    id: str
    subset: Subset
    seed: int
    split: int
    fraction: float
    weighting: str = FIXED

    @property
    def group(self) -> str:
        """Of members that differ in seed, split and fraction alone; it names their folder."""
        return group_name(self.subset, self.weighting)

    def to_json(self) -> dict[str, Any]:
        """The member as JSON values."""
        return {**asdict(self), "subset": list(self.subset)}


def subsets(config: StudyConfig) -> list[Subset]:
    """The task subsets, largest first, each in the order in which the tasks stand."""
    tasks = list(config.tasks)
    if config.subsets != "all":
        return [tuple(sorted(subset, key=tasks.index)) for subset in config.subsets]
    sizes = range(len(tasks), 0, -1)
    return [subset for size in sizes for subset in itertools.combinations(tasks, size)]


def members(config: StudyConfig) -> list[Member]:
    """Every member of the study: subset × weighting × split × fraction × seed, in this order.

    The id is a hash of the data section, the subset's own tasks, the hyper-parameters and
    the five coordinates. It does not depend on where the study lies, on how it is
    launched, or on which other subsets and seeds stand beside it.
    """
    found = []
    for subset in subsets(config):
        for weighting in weightings(config, subset):
            shared = identity(config, subset, weighting)
            grid = itertools.product(config.split_seeds, config.fractions, config.seed_list)
            for split, fraction, seed in grid:
                own = {**shared, "seed": seed, "split_seed": split, "fraction": fraction}
                found.append(Member(_digest(own), subset, seed, split, fraction, weighting))
    return found


def weightings(config: StudyConfig, subset: Subset) -> list[str]:
    """What the weightings of the subset's members are called; the first is that of :func:`is_main`."""
    return list(config.weighting_options) if len(subset) > 1 else [FIXED]


def is_main(config: StudyConfig, member: Member) -> bool:
    """Whether the member takes part in the comparison of tasks together with tasks alone."""
    return member.weighting == weightings(config, member.subset)[0]


def train_config(config: StudyConfig, weighting: str) -> TrainConfig:
    """How members of that weighting are trained."""
    options = config.weighting_options.get(weighting) or TrainConfig().weighting
    return config.train.model_copy(update={"weighting": options})


def identity(config: StudyConfig, subset: Subset, weighting: str) -> dict[str, Any]:
    """What decides the result of the subset's members, apart from their coordinates."""
    dump = config.model_dump(mode="python")
    kept = {key: dump[key] for key in ("data", "graph", "split", "normalize", "model", "train", "probes")}
    kept["train"] = train_config(config, weighting).model_dump(mode="python")
    for section, keys in _NOT_IDENTITY.items():
        kept[section] = {k: v for k, v in kept[section].items() if k not in keys}
    tasks = {task: (dump["tasks"][task]["target"], dump["tasks"][task]["weight"]) for task in subset}
    return {**kept, "tasks": tasks}


def fingerprint(config: StudyConfig) -> str:
    """Hash of all that decides how long the study's members take on a given machine."""
    names = list(config.weighting_options)
    own = identity(config, tuple(config.tasks), names[0])
    others = [train_config(config, name).weighting.model_dump() for name in names[1:]]
    compared = {"weightings": others} if others else {}
    return _digest({**own, **compared, "subsets": subsets(config), "shard": config.launch.members_per_shard})


def label(subset: Subset | list[str]) -> str:
    """``HCM`` if the names are single letters, else ``gap+energy``."""
    return ("" if all(len(task) == 1 for task in subset) else "+").join(subset)


def group_name(subset: Subset | list[str], weighting: str) -> str:
    """The subset, with the weighting if that is not the default: ``HCM``, ``HCM-dwa``."""
    return label(subset) + ("" if weighting == FIXED else f"-{weighting}")


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=_plain, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name  # a study may move; what the data are is checked by their hash
    raise TypeError(f"{value!r} has no place in a member's identity")
