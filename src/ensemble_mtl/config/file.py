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
"""The place where each key was written, such as ``study.yaml:3`` or ``--set train.epochs=3``."""
Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """A safe YAML loader in a class of this project, so that the resolver added below changes no other YAML reader."""


# YAML 1.1 reads `1e-3` as text, since its numbers need a decimal point; a learning rate is often written so.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def load(path: Path, overrides: tuple[str, ...] = ()) -> StudyConfig:
    """The study that the YAML file ``path`` describes.

    Args:
        path: the file; paths inside it resolve against its folder.
        overrides: texts such as ``train.epochs=3``, which take precedence over the file; the value is YAML.

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
        what: what the file should describe, such as ``study``; messages name it.
        keys: the keys that must be in it, such as ``'name' and 'data'``; messages name them.

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
    """Validate ``data`` as a ``model``; paths in it resolve against the folder of ``path``.

    Raises:
        ConfigError: ``data`` are no valid ``model``; the message names the file, the line and the key of every fault.
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
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date, or a number of too many digits
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply; expected a {what}'s YAML file") from None
    return data, origins


def _read(text: str, where: tuple[str, ...], origins: Origins, cite: Callable[[int], str]) -> Any:
    """Parse YAML, and note where each of its keys was written.

    Args:
        text: the YAML.
        where: the key whose value ``text`` is; empty for a whole file.
        origins: the places of keys, to which those of ``text`` are added.
        cite: turns a line number into the words of a place.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _note_origins(node, where, _Walk(origins, cite), ())
        return loader.construct_document(node)
    finally:
        loader.dispose()


class _Walk:
    """The state of a walk through a YAML document by :func:`_note_origins`.

    Attributes:
        origins: the place of every key so far.
        cite: turns a line number into the words of a place.
        visited: the ``id`` of every node so far; an alias leads to a node for a second time.
    """

    def __init__(self, origins: Origins, cite: Callable[[int], str]) -> None:
        self.origins = origins
        self.cite = cite
        self.visited: set[int] = set()


def _note_origins(node: yaml.Node, where: tuple[str, ...], walk: _Walk, ancestors: tuple[int, ...]) -> None:
    """Note where ``node``, which is the value of the key ``where``, and all keys in it are written.

    Args:
        node: a node of the document.
        where: its key.
        walk: the state of the walk.
        ancestors: the ``id`` of each node that ``node`` is in.

    Raises:
        ConfigError: a node contains itself, or a key stands twice in a mapping.
    """
    origin = walk.cite(node.start_mark.line + 1)
    walk.origins.setdefault(where, origin)
    if id(node) in ancestors:
        raise ConfigError(f"{origin}: '{_dotted(where)}' contains itself by an anchor and an alias; write it out")
    if id(node) in walk.visited:  # by an alias; a fault in its parts is reported where the alias stands
        return
    walk.visited.add(id(node))
    ancestors = (*ancestors, id(node))
    if isinstance(node, yaml.MappingNode):
        _note_keys(node, where, walk, ancestors)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_origins(value, (*where, str(index)), walk, ancestors)


def _note_keys(node: yaml.MappingNode, where: tuple[str, ...], walk: _Walk, ancestors: tuple[int, ...]) -> None:
    """Note where each key of a mapping is written; the arguments are those of :func:`_note_origins`."""
    lines: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        origin = walk.cite(line)
        if name in lines:
            dotted = _dotted((*where, name))
            raise ConfigError(f"{origin}: '{dotted}' stands twice, first on line {lines[name]}; keep one")
        lines[name], walk.origins[(*where, name)] = line, origin
        _note_origins(value, (*where, name), walk, ancestors)


def _override(data: dict[str, Any], origins: Origins, text: str) -> None:
    """Set one key of ``data``, and note in ``origins`` that ``--set`` did so; ``text`` is such as ``train.epochs=3``.

    A component that changes its name loses the options of the old one, which the new one may not have.

    Raises:
        ConfigError: the text has another form, or leads into something that is no mapping.
    """
    dotted, equals, value = text.partition("=")
    keys = tuple(dotted.split("."))
    if not equals or not all(keys):
        raise ConfigError(f"--set {text}: expected KEY=VALUE, for example train.epochs=3")
    mapping = data
    for depth, key in enumerate(keys[:-1], start=1):
        if key not in mapping:
            origins[keys[:depth]] = f"--set {text}"
        inner = mapping.setdefault(key, {})
        if isinstance(inner, str):  # a component that is written as its bare name: `conv: pna`
            inner = mapping[key] = {"name": inner}
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {text}: '{key}' is not a mapping, so nothing can be set inside it")
        mapping = inner
    # what the file says of the key, and of keys below it, holds no more
    for overridden in [key for key in origins if key[: len(keys)] == keys]:
        del origins[overridden]
    parsed = _override_value(text, value, keys, origins)
    former = mapping.get(keys[-1])
    if isinstance(former, dict) and isinstance(parsed, str) and "name" in former:
        if former["name"] == parsed:  # the component stays the same, and so do its options
            return
        mapping[keys[-1]] = {"name": parsed}
    else:
        mapping[keys[-1]] = parsed


def _override_value(text: str, value: str, keys: tuple[str, ...], origins: Origins) -> Any:
    """The YAML ``value`` of the override ``text``, which sets the key ``keys``; ``origins`` learns of it."""
    origins[keys] = f"--set {text}"
    try:
        return _read(value, keys, origins, lambda line: f"--set {text}")
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"--set {text}: the value is not valid YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"--set {text}: the value is nested too deeply; put it into the file instead") from None


def _origin(where: Location, origins: Origins, default: str) -> str:
    """The place where the key was written or, for a key that was left out, the place of the closest key around it."""
    key = tuple(map(str, where))
    while key and key not in origins:
        key = key[:-1]
    return origins[key] if key else default


def _dotted(where: Location) -> str:
    return ".".join(map(str, where)) or "study"
