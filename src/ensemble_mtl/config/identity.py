"""What a member is: the part of a configuration that decides its result, and the short hash that names it.

The rule. Every option is part of the identity unless it is marked ``NOT_IDENTITY``. A number, :data:`SCHEMA`, is
part of it too, and an option that has its default of that schema is left out. Hence

* a new option, plug-in or section renames no member, as long as its default means what was done before;
* whoever changes a default, or gives an option another meaning, raises :data:`SCHEMA` by one. Then all members have new
  names, and those of former versions count as another configuration's;
* a file with every default written out names the same members as one without them.

``tests/unit/config/test_identity.py`` compares the defaults with a committed list, and the ids of the shipped
configurations with a committed table, so that neither changes unnoticed.

A path counts by its last part only, since a study may move; what the data are is checked by their hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ensemble_mtl.config.checked import NOT_IDENTITY
from ensemble_mtl.config.components import Component
from ensemble_mtl.config.registry import Options
from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.config.study import StudyConfig

SCHEMA = 1
"""The number of the rule; it rises when a default changes, or when an option comes to mean something else."""


def of_members(config: StudyConfig, subset: tuple[str, ...], train: TrainConfig) -> dict[str, Any]:
    """All options that decide the results of the members of ``subset`` when trained as ``train`` says.

    The coordinates of a member (seed, split and fraction) are not among them; ``study/plan.py`` adds those.
    """
    tasks = {name: config.tasks[name] for name in subset}
    return {"schema": SCHEMA, **of(config.model_copy(update={"tasks": tasks, "train": train}))}


def of(options: BaseModel) -> dict[str, Any]:
    """The options that are part of the identity and differ from their defaults, as JSON values.

    Where a component is named at all, because it or one of its options is not the default, its ``name`` is always
    among its options.
    """
    identity = {}
    for key, field in fields(type(options)).items():
        value = _plain(getattr(options, key))
        if (key == "name" and isinstance(options, Options)) or field.is_required() or value != default(field):
            identity[key] = value
    return identity


def fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of ``model`` that are part of the identity."""
    return {key: field for key, field in model.model_fields.items() if NOT_IDENTITY not in field.metadata}


def default(field: FieldInfo) -> Any:
    """The default of a field that has one, as JSON values; the default of a component is a mapping with its name."""
    value = field.get_default(call_default_factory=True, validated_data={})
    component = any(isinstance(mark, Component) for mark in field.metadata)
    return {"name": value} if component and isinstance(value, str) else _plain(value)


def digest(identity: Mapping[str, Any]) -> str:
    """The short hash that names a member; the order of keys does not matter."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _plain(value: Any) -> Any:
    """The value in JSON's types; options become their identity, and a path becomes its last part."""
    if isinstance(value, BaseModel):
        return of(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value.name if isinstance(value, Path) else value
