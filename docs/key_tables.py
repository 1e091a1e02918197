"""Fill the tables of ``docs/configuration.md`` from the configuration's own classes: ``make docs``.

The page is written by hand except for what stands between ``<!-- keys: SECTION -->`` and ``<!-- end of keys -->``.
No key, section or extension is listed here. Sections are the fields of ``StudyConfig`` that hold mappings, families
of extensions are recognised by the values in ``configs/``, and a key's meaning is the docstring that belongs to it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import re
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from ensemble_mtl.config import file as config_file
from ensemble_mtl.config import registry
from ensemble_mtl.config.study import StudyConfig

PAGE = Path(__file__).with_name("configuration.md")
CONFIGS = Path(__file__).parents[1] / "configs"
MARKED = re.compile(r"(<!-- keys: (\w+) -->\n).*?(<!-- end of keys -->)", re.DOTALL)
STUDY = "study"
"""The section of the keys at the top of the file that hold no mapping."""
PLAIN = {
    "string": "text", "boolean": "`true`, `false`", "null": "`null`", "integer": "a whole number",
    "number": "a number", "object": "a mapping",
}  # fmt: skip
BOUNDS = {"exclusiveMinimum": "above", "minimum": "from", "maximum": "to", "exclusiveMaximum": "below"}

Place = tuple[str, ...]
"""Where a mapping stands in the file, such as ``("train", "optimizer")``; a list of mappings counts by its entries."""


class Family(NamedTuple):
    """Extensions of one kind, such as the optimisers.

    Attributes:
        package: where their files lie, below ``ensemble_mtl``.
        key: the key that names one: ``name``, or ``trunk``.
    """

    package: str
    key: str


def filled(text: str) -> str:
    """The page with every table made anew.

    Args:
        text: the page as it is.

    Raises:
        ValueError: a section has no place on the page, or a place is for no section.
    """
    places = sorted(name for _, name, _ in MARKED.findall(text))
    if places != sorted(sections()):
        raise ValueError(f"{PAGE.name}: has places for {places}, expected one for each of {sorted(sections())}")
    return MARKED.sub(lambda match: f"{match[1]}\n{section(match[2])}\n\n{match[3]}", text)


def sections() -> list[str]:
    """``study``, and every key of a study whose value is a mapping, or holds mappings."""
    return [STUDY, *(name for name in StudyConfig.model_fields if mappings((name,)))]


def section(name: str) -> str:
    """The tables of one section, in Markdown."""
    return "\n\n".join(_plain_table((), [StudyConfig]) if name == STUDY else _tables((name,)))


def _tables(path: Place) -> Iterator[str]:
    """A table for the mapping at ``path``, then one for each mapping inside it."""
    family = family_at(path)
    if family is None:
        classes = list(dict.fromkeys(map(type, mappings(path))))
        yield from _plain_table(path, classes)
    elif (home := _home(family)) != path:
        yield f"Each is a value of `{'.'.join(home)}`, as described there."
        return
    else:
        classes = [registry.family(family.package).load(name).Options for name in registry.names(family.package)]
        yield _family_table(path, family)
    for field in dict.fromkeys(field for kind in classes for field in kind.model_fields):
        if mappings((*path, field)):
            yield from _tables((*path, field))


def _plain_table(path: Place, classes: list[type[BaseModel]]) -> Iterator[str]:
    rows = [row for kind in classes for row in _rows(kind, path)]
    yield "\n".join(["| key | values | default | meaning |", "|:--|:--|:--|:--|", *map(_line, rows)])


def _family_table(path: Place, family: Family) -> str:
    dotted = ".".join(path)
    lines = [f"Values of `{dotted}`, and the keys that each adds:", ""]
    lines += [f"| `{family.key}` | key | values | default | meaning |", "|:--|:--|:--|:--|:--|"]
    for name in registry.names(family.package):
        module = registry.family(family.package).load(name)
        about = inspect.cleandoc(module.__doc__ or "").partition("\n\n")[0]
        lines.append(_line([f"**`{name}`**", "", "", "", _sentence(about)]))
        rows = _rows(module.Options, path)
        lines += [_line(["", *row]) for row in rows if row[0] != f"`{dotted}.{family.key}`"]
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _rows(kind: type[BaseModel], path: Place) -> list[list[str]]:
    """Key, values, default and meaning of every key of the class that stands at ``path``."""
    schema = kind.model_json_schema()
    rows = []
    for name, field in kind.model_fields.items():
        where = (*path, name)
        if not path and mappings(where):
            continue  # a section of its own
        dotted = ".".join(where).replace("tasks.", "tasks.<name>.")
        values = _values(where, schema["properties"].get(name, {}), schema.get("$defs", {}))
        rows.append([f"`{dotted}`", values, _default(field), _sentence(description(kind, name))])
    return rows


def _values(path: Place, entry: dict[str, Any], shared: dict[str, Any]) -> str:
    if family := family_at(path):
        return ", ".join(f"`{name}`" for name in registry.names(family.package))
    return words(entry, shared)


def words(entry: dict[str, Any], shared: dict[str, Any]) -> str:
    """What a JSON schema allows, in words.

    Args:
        entry: the schema of one key.
        shared: schemas that it refers to, by name.
    """
    if "$ref" in entry:
        return words(shared[entry["$ref"].rpartition("/")[2]], shared)
    if "anyOf" in entry:
        return " or ".join(dict.fromkeys(words(part, shared) for part in entry["anyOf"]))
    if "enum" in entry or "const" in entry:
        return ", ".join(f"`{value}`" for value in entry.get("enum", [entry.get("const")]))
    if entry.get("type") == "array":
        parts = entry.get("prefixItems", [])
        items = words(parts[0] if parts else entry.get("items", {}), shared)
        plural = re.sub(r"^(?:a )?(whole number|number|text|list)\b", r"\1s", items)
        return f"a list of {f'{len(parts)} ' if parts else ''}{plural}"
    text = "a path" if entry.get("format") == "path" else PLAIN.get(entry.get("type", ""), "a value")
    return " ".join([text, *(f"{word} {entry[key]:g}" for key, word in BOUNDS.items() if key in entry)])


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "a mapping of defaults" if isinstance(value, BaseModel) else f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return {None: "null", "": '""'}.get(value, str(value)) if not isinstance(value, dict) else "{}"


def description(kind: type[BaseModel], name: str) -> str:
    """What the docstrings say of a key: the string below it, or its entry under ``Attributes`` of the class."""
    for base in kind.__mro__:
        if name in inspect.get_annotations(base):
            return _strings(base).get(name) or _attributes(base).get(name, "")
    return ""


@cache
def _strings(kind: type) -> dict[str, str]:
    """Field -> the string that follows it in the class body."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    body = getattr(definition, "body", [])
    texts = {}
    for statement, following in itertools.pairwise(body):
        value = following.value if isinstance(following, ast.Expr) else None
        if isinstance(statement, ast.AnnAssign) and isinstance(value, ast.Constant):
            texts[ast.unparse(statement.target)] = str(value.value)
    return texts


@cache
def _attributes(kind: type) -> dict[str, str]:
    """Field -> its entry under ``Attributes:`` in the class docstring."""
    _, _, text = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    return dict(re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE))


def _sentence(text: str) -> str:
    """Text of a docstring in Markdown, on one line."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    text = re.sub(r"\s+", " ", text).strip()
    return text[:1].upper() + text[1:] if text[:1].isascii() else text


@cache
def mappings(path: Place) -> tuple[BaseModel, ...]:
    """The mappings that stand at ``path`` in the shipped configurations."""
    if not path:
        return tuple(config_file.load(file) for file in sorted(CONFIGS.glob("*.yaml")))
    values = [getattr(outer, path[-1], None) for outer in mappings(path[:-1])]
    return tuple(entry for value in values for entry in _entries(value) if isinstance(entry, BaseModel))


def _entries(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, tuple) else [value]


@cache
def family_at(path: Place) -> Family | None:
    """The family of extensions whose options stand at ``path``; None if no extension's do."""
    for value in mappings(path):
        package, _, name = type(value).__module__.removeprefix(f"{registry.ROOT}.").rpartition(".")
        keys = [key for key in type(value).model_fields if getattr(value, key) == name]
        if keys and hasattr(importlib.import_module(f"{registry.ROOT}.{package}"), "__path__"):
            return Family(package, keys[0])
    return None


def _home(family: Family) -> Place:
    """The one place where the family is described: where one extension is chosen, and not a list of them."""
    places = [path for path in paths() if family_at(path) == family]
    return max(places, key=len)


def paths(path: Place = ()) -> Iterator[Place]:
    """Every place inside ``path`` where a shipped configuration has a mapping."""
    for field in dict.fromkeys(field for value in mappings(path) for field in type(value).model_fields):
        if mappings((*path, field)):
            yield (*path, field)
            yield from paths((*path, field))


if __name__ == "__main__":
    current = PAGE.read_text()
    made = filled(current)
    if "--check" in sys.argv[1:]:
        sys.exit(int(made != current))
    PAGE.write_text(made)
