"""Reading a configuration: YAML with line numbers, ``--set`` overrides, readable errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ensemble_mtl.config import faults as config_faults
from ensemble_mtl.config.checked import Location
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import ConfigError

Origins = dict[tuple[str, ...], str]
"""Where each key was written: ``study.yaml:3``, or ``--set train.epochs=3``."""
Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """A safe loader of its own, so that its resolvers are no one else's."""


# YAML 1.1 reads `1e-3` as a string, as every author of a learning rate finds out once.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
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
    data, origins = read(path, "study", "'name', 'data' and 'tasks'")
    for override in overrides:
        _override(data, origins, override)
    return check(StudyConfig, data, origins, path)


def read(path: Path, what: str, keys: str) -> tuple[dict[str, Any], Origins]:
    """The mapping that the YAML file ``path`` holds, and where each key stands.

    Args:
        path: the file.
        what: what the file should describe, for the message if it does not.
        keys: what must be in it, likewise.

    Raises:
        ConfigError: the file cannot be read, or holds no mapping.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); expected a {what}'s YAML file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file ({error.reason} at byte {error.start})") from None
    data, origins = _parse(path, text, what)
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping with {keys}, got {type(data).__name__}")
    return data, origins


def check(model: type[Model], data: dict[str, Any], origins: Origins, path: Path) -> Model:
    """``data`` as a ``model``; paths in it resolve against the folder of ``path``.

    Raises:
        ConfigError: it is none; the message names the file, the line and the key of every fault.
    """
    try:
        return model.model_validate(data, context={"base": path.resolve().parent})
    except ValidationError as error:
        faults = config_faults.explain(error, model, data)
        lines = [f"{_origin(where, origins, str(path))}: {_dotted(where)}: {text}" for where, text in faults]
        raise ConfigError("\n".join(lines)) from None


def _parse(path: Path, text: str, what: str) -> tuple[Any, Origins]:
    origins: Origins = {}
    try:
        data = _read(text, (), origins, lambda line: f"{path}:{line}")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: not valid YAML: {error.problem or error}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none, a number of too many digits
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply; expected a {what}'s YAML file") from None
    return data, origins


def _read(text: str, where: tuple[str, ...], origins: Origins, cite: Callable[[int], str]) -> Any:
    """The value that ``text`` holds; it is the value of the key ``where``, and the origins of its keys are noted."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _mark(node, where, _Marks(origins, cite), ())
        return loader.construct_document(node)
    finally:
        loader.dispose()


class _Marks:
    """What :func:`_mark` has found so far: the origin of every key, and the nodes."""

    def __init__(self, origins: Origins, cite: Callable[[int], str]) -> None:
        self.origins = origins
        self.cite = cite
        self.seen: set[int] = set()


def _mark(node: yaml.Node, where: tuple[str, ...], marks: _Marks, around: tuple[int, ...]) -> None:
    """Note the origin of ``node`` and all that is in it; ``around`` are the nodes that it is in."""
    origin = marks.cite(node.start_mark.line + 1)
    marks.origins.setdefault(where, origin)
    if id(node) in around:
        raise ConfigError(f"{origin}: '{_dotted(where)}' contains itself by an anchor and an alias; write it out")
    if id(node) in marks.seen:  # by an alias; its parts are cited where the alias stands
        return
    marks.seen.add(id(node))
    around = (*around, id(node))
    if isinstance(node, yaml.MappingNode):
        _mark_mapping(node, where, marks, around)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _mark(value, (*where, str(index)), marks, around)


def _mark_mapping(node: yaml.MappingNode, where: tuple[str, ...], marks: _Marks, around: tuple[int, ...]) -> None:
    own: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        origin = marks.cite(line)
        if name in own:
            dotted = _dotted((*where, name))
            raise ConfigError(f"{origin}: '{dotted}' stands twice, first on line {own[name]}; keep one")
        own[name], marks.origins[(*where, name)] = line, origin
        _mark(value, (*where, name), marks, around)


def _override(data: dict[str, Any], origins: Origins, text: str) -> None:
    dotted, equals, value = text.partition("=")
    keys = tuple(dotted.split("."))
    if not equals or not all(keys):
        raise ConfigError(f"--set {text}: expected KEY=VALUE, for example train.epochs=3")
    place = data
    for depth, key in enumerate(keys[:-1], start=1):
        if key not in place:
            origins[keys[:depth]] = f"--set {text}"
        inner = place.setdefault(key, {})
        if isinstance(inner, str):  # a component by its bare name: `conv: pna`
            inner = place[key] = {"name": inner}
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {text}: '{key}' is not a mapping, so nothing can be set inside it")
        place = inner
    for known in [known for known in origins if known[: len(keys)] == keys]:
        del origins[known]
    parsed = _override_value(text, value, keys, origins)
    inner = place.get(keys[-1])
    if isinstance(inner, dict) and isinstance(parsed, str) and "name" in inner:
        if inner["name"] == parsed:  # it is that already, and keeps its options
            return
        place[keys[-1]] = {"name": parsed}
    else:
        place[keys[-1]] = parsed


def _override_value(text: str, value: str, keys: tuple[str, ...], origins: Origins) -> Any:
    origins[keys] = f"--set {text}"
    try:
        return _read(value, keys, origins, lambda line: f"--set {text}")
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"--set {text}: the value is not valid YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"--set {text}: nested too deeply") from None


def _origin(where: Location, origins: Origins, default: str) -> str:
    """Where the key was written or, if it was not, the closest key around it."""
    key = tuple(map(str, where))
    while key and key not in origins:
        key = key[:-1]
    return origins[key] if key else default


def _dotted(where: Location) -> str:
    return ".".join(map(str, where)) or "study"
