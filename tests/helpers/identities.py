"""The defaults that members' ids depend on, and the ids of the shipped configurations' members, as JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from ensemble_mtl.config import file as config_file
from ensemble_mtl.config import identity, registry
from ensemble_mtl.config.components import Component
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.study import plan

CONFIGS = Path(__file__).parents[2] / "configs"
REQUIRED = "required"


def defaults() -> dict[str, dict[str, Any]]:
    """Return section, or family and plug-in -> option -> its default, for all options that decide a member's id."""
    return {name: _defaults(model) for name, model in sorted(dict(_models("study", StudyConfig)).items())}


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    fields = identity.fields(model)
    return {key: REQUIRED if field.is_required() else identity.default(field) for key, field in fields.items()}


def _models(name: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield names and classes: ``model``, and every class that the value of one of its options may have."""
    yield name, model
    for key, field in identity.fields(model).items():
        for mark in field.metadata:
            if isinstance(mark, Component):
                family = registry.family(mark.package)
                for plugin in family.names():
                    yield from _models(f"{mark.package}.{plugin}", family.load(plugin).Options)
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _models(f"{name}.{key}", part)


def shipped() -> dict[str, Any]:
    """Return configuration -> what the ids of its first subset's members are hashed from, and each group's first id."""
    return {path.stem: _identities(config_file.load(path)) for path in sorted(CONFIGS.glob("*.yaml"))}


def _identities(config: StudyConfig) -> dict[str, Any]:
    ids: dict[str, str] = {}
    for member in plan.members(config):
        ids.setdefault(member.group, member.id)
    subset = plan.subsets(config)[0]
    train = plan.train_config(config, plan.weightings(config, subset)[0])
    return {"identity": identity.of_members(config, subset, train), "ids": ids}
