"""Pydantic's validation errors, in words for the author of a configuration."""

from __future__ import annotations

import difflib
import re
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ensemble_mtl.config.checked import Location

_ABSENT = object()

_WORDS = (
    (r"^Value error, ", ""),
    (r"^Input should be ", "expected "),
    (r", unable to parse string as an? \w+$", ""),
    (r"^\w+ should have (at \w+ \d+) items? after validation.*", r"expected a length of \1"),
    (r"^expected (greater|less) ", r"expected a number \1 "),
    (r"a valid (tuple|list|array)$", "a list"),
    (r"a valid dictionary.*$", "a mapping"),
    (r"a valid (integer|number).*$", r"a \1"),
    (r"a valid string$", "text"),
    (r"a valid boolean$", "true or false"),
    (r"\ba integer\b", "an integer"),
)
"""Pairs of a pattern in a message of pydantic, and the words about a YAML file that take its place."""


class _Fault(NamedTuple):
    """One message of pydantic.

    Attributes:
        where: the place of the wrong value, as the author of the file would name it.
        union: where the type is a choice of several (such as a list or ``all``), pydantic reports a fault for every
            branch of it; this is the place of the choice. None for a type that is no choice.
        branch: pydantic's name of the branch that reports the fault.
        text: what is wrong.
        value: what was read there; :data:`_ABSENT` where a key is missing or unknown.
    """

    where: Location
    union: Location | None
    branch: str
    text: str
    value: Any

    def __str__(self) -> str:
        # a whole mapping would be too long to show, and some messages name the value already
        is_complete = self.value is _ABSENT or isinstance(self.value, dict | BaseModel) or "got " in self.text
        shown = list(self.value) if isinstance(self.value, tuple) else self.value  # a tuple is a list in YAML
        return self.text if is_complete else f"{self.text}, got {shown!r}"


def explain(error: ValidationError, model: type[BaseModel], data: Any) -> list[tuple[Location, str]]:
    """Every fault that ``error`` reports, as the place of the value and a sentence about it.

    Args:
        error: the error that pydantic raised when it read ``data`` as a ``model``.
        model: the class that ``data`` were read as.
        data: the content of the file, as plain lists and mappings.
    """
    return [(fault.where, str(fault)) for fault in _merged(_flatten(error.errors(), (), model, data))]


def _flatten(errors: list[Any], prefix: Location, model: Any, data: Any) -> list[_Fault]:
    """The faults of ``errors``, and of the errors that are nested in them, whose places begin with ``prefix``."""
    flat: list[_Fault] = []
    for error in errors:
        where = (*prefix, *error["loc"])
        # pydantic counts only the valid entries of a list: it is "too short" already where one of them is wrong
        inside = [other for other in errors if other is not error and other["loc"][: len(error["loc"])] == error["loc"]]
        if error["type"] == "too_short" and inside:
            continue
        if error["type"] == "nested":
            flat += _flatten(error["ctx"]["inner"], where, error["ctx"].get("model"), data)
        else:
            flat.append(_fault(where, error, _keys(model, error["loc"]), data))
    return flat


def _fault(where: Location, error: Any, siblings: list[str], data: Any) -> _Fault:
    place, union, branch = _without_branches(where, data, absent=error["type"] == "missing")
    if error["type"] == "missing":
        return _Fault(place, union, branch, "required, but missing", _ABSENT)
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), siblings, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        remedy = f"expected one of {', '.join(siblings)}" if siblings else "remove it or correct its name"
        return _Fault(place, union, branch, f"unknown key{hint}; {remedy}", _ABSENT)
    text = error["msg"]
    for pattern, words in _WORDS:
        text = re.sub(pattern, words, text)
    return _Fault(place, union, branch, text[0].lower() + text[1:], error["input"])


def _without_branches(where: Location, data: Any, *, absent: bool) -> tuple[Location, Location | None, str]:
    """The place of a fault without the names that pydantic gives to the branches of a choice.

    Pydantic puts such a name (``constrained-int``, ``tuple[int, ...]``) between the keys. It is recognised by its not
    being a key of ``data``.

    Args:
        where: the place as pydantic has it.
        data: the content of the file.
        absent: whether the last entry of ``where`` is a missing key, which is not in ``data`` either.

    Returns:
        The place in the file; the place of the outermost choice, None if there is none; and the name of its branch.
    """
    place: Location = ()
    union, branch, value = None, "", data
    for index, part in enumerate(where):
        is_key = isinstance(value, dict) and part in value
        if is_key or isinstance(part, int) or (absent and index == len(where) - 1):
            place = (*place, part)
            value = value[part] if is_key or (isinstance(value, list) and part in range(len(value))) else None
        elif union is None:
            union, branch = place, part
    return place, union, branch


def _merged(faults: list[_Fault]) -> list[_Fault]:
    """The faults with only one branch, or one sentence, left for each choice of types."""
    places = list(dict.fromkeys((fault.union, fault.where if fault.union is None else ()) for fault in faults))
    merged: list[_Fault] = []
    for union, where in places:
        same = [fault for fault in faults if fault.union == union]
        merged += [fault for fault in same if fault.where == where] if union is None else _of_choice(same, union)
    return merged


def _of_choice(faults: list[_Fault], union: Location) -> list[_Fault]:
    """The faults of the branch that the author meant or, if that is not clear, one fault that names all branches."""
    branches: dict[str, list[_Fault]] = {}
    for fault in faults:
        branches.setdefault(fault.branch, []).append(fault)
    # a branch that accepts the value as a whole, and objects only to parts of it, is the one that was meant
    fitting = [branch for branch in branches.values() if all(fault.where != union for fault in branch)]
    if fitting:
        return min(fitting, key=len)
    texts = list(dict.fromkeys(fault.text for fault in faults))
    text = " or ".join([texts[0], *(text.removeprefix("expected ") for text in texts[1:])])
    return [faults[0]._replace(text=text)]


def _keys(model: Any, where: Location) -> list[str]:
    """The keys that may stand in the mapping of a ``model`` in which the place ``where`` is."""
    for key in where[:-1]:
        model = _inner(model, key)
    section = _section(model)
    return list(section.model_fields) if section else []


def _inner(annotation: Any, key: str | int) -> Any:
    """The type of the value under ``key`` in a value of the type ``annotation``; None if there is none."""
    section = _section(annotation)
    if section:
        field = section.model_fields.get(str(key))
        return field.annotation if field else None
    return get_args(annotation)[-1] if get_origin(annotation) is dict else None


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model in a type such as ``Section`` or ``Section | None``; None if there is none."""
    if get_origin(annotation) is dict:
        return None
    types = (annotation, *get_args(annotation))
    return next((kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
