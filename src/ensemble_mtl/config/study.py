"""The study as its author writes it: typed, frozen, unknown keys refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from ensemble_mtl.config import registry
from ensemble_mtl.config.checked import DISTINCT, Mistake, mistakes
from ensemble_mtl.config.components import ConfigPath, SourceOptions, SplitOptions, WeightingOptions
from ensemble_mtl.config.sections import (
    GraphConfig,
    LaunchConfig,
    ModelConfig,
    NormalizeConfig,
    ProbeConfig,
    ReportConfig,
    Section,
    TaskConfig,
    TrainConfig,
)

TASK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _lists_of_tasks(value: Any) -> Any:
    lists = isinstance(value, list | tuple) and value and all(isinstance(entry, list | tuple) for entry in value)
    if value != "all" and not lists:
        raise ValueError("expected 'all', or a list of lists such as [[H], [H, M]]")
    return value


def _uses_edges(model: ModelConfig) -> bool:
    trunk = registry.load("models.trunk", model.trunk)
    # more than one feature, since a trunk may put a constant in place of none
    return bool(trunk.parameters(1, 2, model) != trunk.parameters(1, 0, model))


def _unfit_name(name: str, names: list[str]) -> str:
    """What is wrong with a task's name, or nothing."""
    if not TASK_NAME.fullmatch(name):
        return f"got {name!r}, expected a letter, then letters, digits or '_'"
    # names are folders, and some file systems take `h` for `H`
    folded = [other.casefold() for other in names]
    if folded.count(name.casefold()) > 1:
        return f"got {', '.join(names)}, expected names that differ in more than upper and lower case; rename one"
    # a subset of single letters is called by them put together, which must not be a task's name
    if len(name) > 1 and all(letter in folded for letter in name.casefold()):
        return f"got {name!r}, expected more than letters that are tasks: A and B together are called AB; rename one"
    return ""


class StudyConfig(Section):
    """A whole study: which tasks, together or alone, with which seeds."""

    name: str
    description: str = ""
    data: SourceOptions
    graph: GraphConfig = Field(default_factory=GraphConfig)
    tasks: dict[str, TaskConfig] = Field(min_length=1)
    subsets: Annotated[Literal["all"] | tuple[tuple[str, ...], ...], BeforeValidator(_lists_of_tasks)] = "all"
    seeds: PositiveInt | tuple[NonNegativeInt, ...] = 12
    split: SplitOptions = "random"
    split_seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1), DISTINCT] = (0,)
    """One split per entry; every member of a subset is trained on each."""
    fractions: tuple[float, ...] = (1.0,)
    """Shares of the training part used; the validation and test parts stay the same."""
    weightings: tuple[WeightingOptions, ...] = ()
    """Weightings to compare, in place of ``train.weighting``: every multi-task subset is trained with each, single
    tasks once. The first is the one by which tasks together are compared with tasks alone."""
    normalize: NormalizeConfig = Field(default_factory=NormalizeConfig)
    model: ModelConfig = Field(default_factory=lambda: ModelConfig.model_validate({}))
    train: TrainConfig = Field(default_factory=TrainConfig)
    probes: ProbeConfig | None = Field(default_factory=ProbeConfig)
    launch: LaunchConfig = Field(default_factory=LaunchConfig)
    report: ReportConfig = Field(default_factory=ReportConfig)
    out: ConfigPath | None = None
    """The study directory; ``studies/<name>`` beside the configuration if left out."""

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
        found = [Mistake((name,), text, name) for name in value if (text := _unfit_name(name, list(value)))]
        if found:
            raise mistakes(found)
        targets = [task.target for task in value.values()]
        if len(set(targets)) != len(targets):
            raise ValueError("two tasks share one target; expected a target of its own for each task")
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> StudyConfig:
        found = [*self._unfit_subsets(), *self._unfit_targets(), *self._unfit_graph(), *self._unfit_probes()]
        found += [*self._unfit_weightings(), *self._unfit_weights()]
        if found:
            raise mistakes(found)
        return self

    def _unfit_subsets(self) -> Iterator[Mistake]:
        seen: set[frozenset[str]] = set()
        for index, subset in enumerate(() if self.subsets == "all" else self.subsets):
            for position, task in enumerate(subset):
                if task not in self.tasks:
                    yield Mistake(("subsets", index, position), registry.unknown(task, list(self.tasks)), task)
            key = frozenset(subset)
            if not subset or len(key) != len(subset) or key in seen:
                yield Mistake(("subsets", index), "is empty, or repeats a task or a subset", list(subset))
            seen.add(key)

    def _unfit_targets(self) -> Iterator[Mistake]:
        """Targets that the source does not offer, if it declares them: ``TARGETS``, or ``declared(options)``."""
        source = self._source()
        known = [info.name for info in getattr(source, "TARGETS", ())]
        if hasattr(source, "declared"):
            known = [info.name for info in source.declared(self.data)]
        for name, task in self.tasks.items():
            if known and task.target not in known:
                yield Mistake(("tasks", name, "target"), registry.unknown(task.target, known), task.target)

    def _unfit_graph(self) -> Iterator[Mistake]:
        """A radius where the source gives bonds (``GIVES_BONDS``), and kinds of bonds where it does not, or no use."""
        if not self._source():
            return
        gives, graph, default = getattr(self._source(), "GIVES_BONDS", False), self.graph, GraphConfig()
        bonds = list(graph.bonds) if isinstance(graph.bonds, tuple) else graph.bonds  # as it was written
        for key in ("radius", "radius_unit", "periodic"):
            if gives and getattr(graph, key) != getattr(default, key):
                text = f"data {self.data.name!r} gives the bonds itself, so no neighbours are searched; leave it out"
                yield Mistake(("graph", key), text, getattr(graph, key))
        if gives and self.model.edge_basis is not None:
            text = f"data {self.data.name!r} gives bonds without lengths; leave it out, and set graph.bonds"
            yield Mistake(("model", "edge_basis"), text, self.model.edge_basis)
        if bonds is not None and not gives:
            text = f"data {self.data.name!r} gives no bonds; leave it out (model.edge_basis expands lengths)"
            yield Mistake(("graph", "bonds"), text, bonds)
        elif bonds is not None and not _uses_edges(self.model):
            yield Mistake(("graph", "bonds"), "the model has no use for features of edges; leave it out", bonds)

    def _source(self) -> Any:
        """The source's module, None if it is not of this package."""
        name = self.data.name
        return registry.load("data.sources", name) if name in registry.names("data.sources") else None

    def _unfit_probes(self) -> Iterator[Mistake]:
        last = self.train.epochs
        for index, epoch in enumerate(self.probes.epochs if self.probes else ()):
            if epoch != "end" and not 0 <= epoch <= last:
                text = f"expected 'end', or an epoch of 0 to train.epochs, which is {last}"
                yield Mistake(("probes", "epochs", index), text, epoch)

    def _unfit_weightings(self) -> Iterator[Mistake]:
        names = [options.called for options in self.weightings]
        for index, name in enumerate(names):
            if name in names[:index]:
                yield Mistake(("weightings", index), f"got {name!r} twice; give each weighting once", name)
        if self.weightings and self.train.weighting != TrainConfig().weighting:
            text = "expected either train.weighting or weightings; make it the first of the list"
            yield Mistake(("train", "weighting"), text, self.train.weighting.called)
        alone = self.subsets != "all" and all(len(subset) == 1 for subset in self.subsets)
        if len(names) > 1 and (alone or len(self.tasks) == 1):
            yield Mistake(("weightings",), "expected a subset of several tasks to compare weightings on", names)

    def _unfit_weights(self) -> Iterator[Mistake]:
        for name, options in self.weighting_options.items():
            known = options.name in registry.names("train.weighting")
            if not known or not hasattr(registry.load("train.weighting", options.name), "EQUAL_ONLY"):
                continue
            for task, own in self.tasks.items():
                if own.weight != 1:
                    text = f"expected 1, or nothing, since the weighting is {name!r}; 'fixed' takes weights"
                    yield Mistake(("tasks", task, "weight"), text, own.weight)

    @property
    def weighting_options(self) -> dict[str, Any]:
        """The weightings of multi-task members by what they are called: those to compare, or the one."""
        return {options.called: options for options in self.weightings or (self.train.weighting,)}

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds: as listed, or 0, 1, … if a number was given."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds
