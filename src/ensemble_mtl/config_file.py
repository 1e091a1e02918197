"""Reading a configuration: YAML with line numbers, ``--set`` overrides, readable errors."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from ensemble_mtl.config import StudyConfig
from ensemble_mtl.errors import ConfigError

Location = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """A safe loader that notes the line of every key and refuses repeated keys."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.repeated: list[tuple[str, int]] = []


# YAML 1.1 reads `1e-3` as a string, as every author of a learning rate finds out once.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def load(path: Path, overrides: tuple[str, ...] = ()) -> StudyConfig:
    """The study that the YAML file ``path`` describes.

    Args:
        path: the file; paths inside it resolve against its folder.
        overrides: ``a.b=value`` texts that beat the file; the value is YAML.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or does not describe a study;
            the message names the file, the line and the key of every fault.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); expected a study's YAML file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file ({error.reason} at byte {error.start})") from None
    data, lines = _parse(path, text)
    for override in overrides:
        _override(data, override)
    try:
        return StudyConfig.model_validate(data, context={"base": path.resolve().parent})
    except ValidationError as error:
        faults = [_describe(path, lines, *fault) for fault in _flatten(error.errors())]
        raise ConfigError("\n".join(faults)) from None


def _parse(path: Path, text: str) -> tuple[dict[str, Any], dict[Location, int]]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Location, int] = {}
        if node is not None:
            _mark(node, (), lines, path)
        data = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: not valid YAML: {error.problem or error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping with 'name', 'data' and 'tasks', got {type(data).__name__}")
    return data, lines


def _mark(node: yaml.Node, where: Location, lines: dict[Location, int], path: Path) -> None:
    lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*where, str(key.value))
            line = key.start_mark.line + 1
            if place in lines:
                dotted = ".".join(map(str, place))
                raise ConfigError(f"{path}:{line}: '{dotted}' stands twice, first on line {lines[place]}; keep one")
            lines[place] = line
            _mark(value, place, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _mark(value, (*where, index), lines, path)


def _override(data: dict[str, Any], text: str) -> None:
    dotted, equals, value = text.partition("=")
    keys = dotted.split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {text}: expected KEY=VALUE, for example train.epochs=3")
    place = data
    for key in keys[:-1]:
        inner = place.setdefault(key, {})
        if isinstance(inner, str):  # a component by its bare name: `conv: pna`
            inner = place[key] = {"name": inner}
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {text}: '{key}' is not a mapping, so nothing can be set inside it")
        place = inner
    try:
        parsed = yaml.load(value, _Loader)  # noqa: S506 - _Loader is a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is not valid YAML: {error}") from None
    inner = place.get(keys[-1])
    if isinstance(inner, dict) and isinstance(parsed, str) and "name" in inner:
        place[keys[-1]] = {"name": parsed}
    else:
        place[keys[-1]] = parsed


def _flatten(errors: list[Any], prefix: Location = ()) -> list[tuple[Location, Any]]:
    flat: list[tuple[Location, Any]] = []
    for error in errors:
        where = (*prefix, *error["loc"])
        if error["type"] == "nested":
            flat += _flatten(error["ctx"]["inner"], where)
        else:
            flat.append((where, error))
    return flat


def _describe(path: Path, lines: dict[Location, int], where: Location, error: Any) -> str:
    known = where
    while known and known not in lines:
        known = known[:-1]
    line = f":{lines[known]}" if known in lines and known else ""
    dotted = ".".join(map(str, where)) or "study"
    if error["type"] == "extra_forbidden":
        return f"{path}{line}: {dotted}: unknown key{_nearest(where)}; remove it or correct its name"
    if error["type"] == "missing":
        return f"{path}{line}: {dotted}: required, but missing"
    message = error["msg"].removeprefix("Value error, ")
    got = "" if isinstance(error["input"], dict | BaseModel) or "got " in message else f", got {error['input']!r}"
    return f"{path}{line}: {dotted}: {message[0].lower()}{message[1:]}{got}"


def _nearest(where: Location) -> str:
    section: Any = StudyConfig
    for key in where[:-1]:
        fields = getattr(section, "model_fields", {})
        section = fields[key].annotation if key in fields else None
    fields = list(getattr(section, "model_fields", {}))
    near = difflib.get_close_matches(str(where[-1]), fields, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
