"""The whole configuration of a study, as its author writes it, and the checks of one section against another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from ensemble_mtl.config import registry
from ensemble_mtl.config.checked import DISTINCT, NOT_IDENTITY, Checked, Mistake, mistakes
from ensemble_mtl.config.components import ConfigPath, SourceChoice, SplitChoice, WeightingChoice
from ensemble_mtl.config.sections import (
    GraphConfig,
    LaunchConfig,
    ModelConfig,
    NormalizeConfig,
    ProbeConfig,
    ReportConfig,
    TaskConfig,
    TrainConfig,
)

TASK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _all_or_lists(value: Any) -> Any:
    """The value of ``subsets``, which must be ``all`` or a list of lists, before pydantic reads it.

    Pydantic's own message would name every type that the value might have had.
    """
    is_list_of_lists = (
        isinstance(value, list | tuple) and value and all(isinstance(entry, list | tuple) for entry in value)
    )
    if value != "all" and not is_list_of_lists:
        raise ValueError("expected 'all', or a list of lists such as [[H], [H, M]]")
    return value


def _unfit_name(name: str, names: list[str]) -> str:
    """What is wrong with the ``name`` of a task, one of all ``names``; empty if nothing is."""
    if not TASK_NAME.fullmatch(name):
        return f"got {name!r}, expected a letter, then letters, digits or '_'"
    # names are folders, and some file systems take `h` for `H`
    folded = [each.casefold() for each in names]
    if folded.count(name.casefold()) > 1:
        return f"got {', '.join(names)}, expected names that differ in more than upper and lower case; rename one"
    # a subset of the tasks A and B is called AB in tables, so that no task may have this name
    if len(name) > 1 and all(letter in folded for letter in name.casefold()):
        return f"got {name!r}, expected more than letters that are tasks: A and B together are called AB; rename one"
    return ""


def _unfit_subset(subset: tuple[str, ...], former: set[frozenset[str]]) -> str:
    """What is wrong with a subset that comes after the ``former`` ones; empty if nothing is."""
    tasks = frozenset(subset)
    if not tasks:
        return "expected at least one task"
    if len(tasks) != len(subset):
        return "expected each task once"
    return "expected each subset once" if tasks in former else ""


def _components(section: BaseModel) -> Iterator[registry.Options]:
    """The options of every plug-in in ``section`` and in its own sections, those of plug-ins in plug-ins included."""
    for key in type(section).model_fields:
        value = getattr(section, key)
        for entry in value if isinstance(value, tuple) else (value,):
            if isinstance(entry, registry.Options):
                yield entry
            if isinstance(entry, BaseModel):
                yield from _components(entry)


class StudyConfig(Checked):
    """A whole study: which tasks are learned, together or alone, from which data, and with which seeds.

    Seeds, splits and fractions are coordinates of a member and enter its identity as such (``study/plan.py``).
    """

    name: Annotated[str, NOT_IDENTITY]
    """The name of the study, of its folder and of its jobs."""
    description: Annotated[str, NOT_IDENTITY] = ""
    """A line about the study that the report shows."""
    data: SourceChoice
    """Where the structures come from."""
    graph: GraphConfig = Field(default_factory=GraphConfig)
    tasks: dict[str, TaskConfig] = Field(min_length=1)
    """The properties to learn, each under a short name that you choose, such as ``H``."""
    subsets: Annotated[Literal["all"] | tuple[tuple[str, ...], ...], BeforeValidator(_all_or_lists), NOT_IDENTITY] = (
        "all"
    )
    """Which tasks are learned together: every subset of the tasks, single ones included, or the listed subsets."""
    seeds: Annotated[PositiveInt | tuple[NonNegativeInt, ...], NOT_IDENTITY] = 12
    """The number of seeds, or a list of them. Each seed of the initial weights gives one member per subset."""
    split: SplitChoice = "random"
    """How graphs are divided into a training, a validation and a test part."""
    split_seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1), DISTINCT, NOT_IDENTITY] = (0,)
    """The seeds of the splits. Every subset is trained on the split of each, with every seed of the weights."""
    fractions: Annotated[tuple[float, ...], NOT_IDENTITY] = (1.0,)
    """The shares of the training part to train on, above 0 and at most 1. Validation and test parts stay the same."""
    weightings: Annotated[tuple[WeightingChoice, ...], NOT_IDENTITY] = ()
    """Weightings of the tasks to compare, in place of ``train.weighting``. Every multi-task subset is trained with each
    one, and a single task only once. The comparison of tasks together with tasks alone takes the first one."""
    normalize: NormalizeConfig = Field(default_factory=NormalizeConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    probes: ProbeConfig | None = Field(default_factory=ProbeConfig)
    """How curvature is measured; ``null`` measures none."""
    launch: Annotated[LaunchConfig, NOT_IDENTITY] = Field(default_factory=LaunchConfig)
    report: Annotated[ReportConfig, NOT_IDENTITY] = Field(default_factory=ReportConfig)
    out: Annotated[ConfigPath | None, NOT_IDENTITY] = None
    """The study directory; ``studies/<name>`` beside the configuration file if left out."""

    @field_validator("name")
    @classmethod
    def _safe_name(cls, value: str) -> str:
        if not STUDY_NAME.fullmatch(value):
            raise ValueError("expected letters, digits, '.', '_' and '-' only, since it names a folder")
        return value

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(value, tuple) and (len(set(value)) != len(value) or not value):
            raise ValueError("expected a number of seeds, or a list of distinct seeds")
        return value

    @field_validator("fractions")
    @classmethod
    def _proper_fractions(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or len(set(value)) != len(value) or not all(0 < f <= 1 for f in value):
            raise ValueError("expected distinct numbers above 0 and at most 1")
        return value

    @field_validator("tasks")
    @classmethod
    def _safe_tasks(cls, value: dict[str, TaskConfig]) -> dict[str, TaskConfig]:
        unfit = [Mistake((name,), text, name) for name in value if (text := _unfit_name(name, list(value)))]
        if unfit:
            raise mistakes(unfit)
        targets = [task.target for task in value.values()]
        if len(set(targets)) != len(targets):
            raise ValueError("two tasks have the same target; expected a different target for each task")
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> StudyConfig:
        faults = [*self._unfit_subsets()]
        faults += [mistake for options in _components(self) for mistake in options.misfits(self)]
        faults += [*self._unfit_probes(), *self._unfit_weightings()]
        if faults:
            raise mistakes(faults)
        return self

    def _unfit_subsets(self) -> Iterator[Mistake]:
        former: set[frozenset[str]] = set()
        for index, subset in enumerate(() if self.subsets == "all" else self.subsets):
            for position, task in enumerate(subset):
                if task not in self.tasks:
                    yield Mistake(("subsets", index, position), registry.unknown(task, list(self.tasks)), task)
            if text := _unfit_subset(subset, former):
                yield Mistake(("subsets", index), text, list(subset))
            former.add(frozenset(subset))

    def _unfit_probes(self) -> Iterator[Mistake]:
        last = self.train.epochs
        for index, epoch in enumerate(self.probes.epochs if self.probes else ()):
            if epoch != "end" and not 0 <= epoch <= last:
                text = f"expected 'end', or an epoch of 0 to train.epochs, which is {last}"
                yield Mistake(("probes", "epochs", index), text, epoch)

    def _unfit_weightings(self) -> Iterator[Mistake]:
        names = [options.short_name for options in self.weightings]
        for index, name in enumerate(names):
            if name in names[:index]:
                yield Mistake(("weightings", index), f"got {name!r} twice; give each weighting once", name)
        if self.weightings and self.train.weighting != TrainConfig().weighting:
            text = "expected either train.weighting or weightings; make it the first of the list"
            yield Mistake(("train", "weighting"), text, self.train.weighting.short_name)
        only_single = self.subsets != "all" and all(len(subset) == 1 for subset in self.subsets)
        if len(names) > 1 and (only_single or len(self.tasks) == 1):
            yield Mistake(("weightings",), "expected a subset of several tasks to compare weightings on", names)

    @property
    def probes_last_epoch(self) -> bool:
        """Whether curvature is measured at each member's own last epoch."""
        return self.probes is not None and "end" in self.probes.epochs

    @property
    def weighting_options(self) -> dict[str, Any]:
        """The options of the weightings of multi-task members by their short names, the main weighting first."""
        return {options.short_name: options for options in self.weightings or (self.train.weighting,)}

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds: those of the list or, for a number n, 0 to n − 1."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds
