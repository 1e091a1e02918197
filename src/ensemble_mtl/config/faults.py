"""What pydantic found wrong, in words for the author of a configuration."""

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
    (r"a valid (tuple|list)$", "a list"),
    (r"a valid dictionary.*$", "a mapping"),
    (r"a valid (integer|number).*$", r"a \1"),
    (r"a valid string$", "text"),
    (r"a valid boolean$", "true or false"),
    (r"\ba integer\b", "an integer"),
)
"""Pydantic's words and those that say the same about a YAML file."""


class _Fault(NamedTuple):
    """One message of pydantic.

    Attributes:
        where: the key.
        union: the key whose type is a choice, if this is about one of its branches.
        branch: which one.
        text: what is wrong.
        given: what stood there.
    """

    where: Location
    union: Location | None
    branch: str
    text: str
    given: Any

    def __str__(self) -> str:
        plain = self.given is _ABSENT or isinstance(self.given, dict | BaseModel) or "got " in self.text
        return self.text if plain else f"{self.text}, got {self.given!r}"


def explain(error: ValidationError, model: type[BaseModel], data: Any) -> list[tuple[Location, str]]:
    """Every fault that ``error`` tells, as the key and a sentence.

    Args:
        error: raised when ``data`` were read as a ``model``.
        model: the type of the whole.
        data: what was read, as plain lists and mappings.
    """
    return [(fault.where, str(fault)) for fault in _merged(_flatten(error.errors(), (), model, data))]


def _flatten(errors: list[Any], prefix: Location, model: Any, data: Any) -> list[_Fault]:
    flat: list[_Fault] = []
    for error in errors:
        where = (*prefix, *error["loc"])
        # pydantic counts only the entries that are right
        parts = [other for other in errors if other is not error and other["loc"][: len(error["loc"])] == error["loc"]]
        if error["type"] == "too_short" and parts:
            continue
        if error["type"] == "nested":
            flat += _flatten(error["ctx"]["inner"], where, error["ctx"].get("model"), data)
        else:
            flat.append(_fault(where, error, _keys(model, error["loc"]), data))
    return flat


def _fault(where: Location, error: Any, siblings: list[str], data: Any) -> _Fault:
    kept, union, branch = _without_branches(where, data, absent=error["type"] == "missing")
    if error["type"] == "missing":
        return _Fault(kept, union, branch, "required, but missing", _ABSENT)
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(kept[-1]), siblings, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        known = f"expected one of {', '.join(siblings)}" if siblings else "remove it or correct its name"
        return _Fault(kept, union, branch, f"unknown key{hint}; {known}", _ABSENT)
    text = error["msg"]
    for pattern, words in _WORDS:
        text = re.sub(pattern, words, text)
    return _Fault(kept, union, branch, text[0].lower() + text[1:], error["input"])


def _without_branches(where: Location, data: Any, *, absent: bool) -> tuple[Location, Location | None, str]:
    """The key without the names that pydantic gives to the branches of a choice; the choice's key, and the branch.

    Such names (``constrained-int``, ``tuple[int, ...]``) are told by their not being in ``data``.
    """
    kept: Location = ()
    union, branch, place = None, "", data
    for index, part in enumerate(where):
        known = isinstance(place, dict) and part in place
        if known or isinstance(part, int) or (absent and index == len(where) - 1):
            kept = (*kept, part)
            place = place[part] if known or (isinstance(place, list) and part in range(len(place))) else None
        elif union is None:
            union, branch = kept, part
    return kept, union, branch


def _merged(faults: list[_Fault]) -> list[_Fault]:
    """The same, with one branch, or one sentence, for each choice of types."""
    places = list(dict.fromkeys((fault.union, fault.where if fault.union is None else ()) for fault in faults))
    merged: list[_Fault] = []
    for union, where in places:
        same = [fault for fault in faults if fault.union == union]
        merged += [fault for fault in same if fault.where == where] if union is None else _of_choice(same, union)
    return merged


def _of_choice(faults: list[_Fault], union: Location) -> list[_Fault]:
    branches: dict[str, list[_Fault]] = {}
    for fault in faults:
        branches.setdefault(fault.branch, []).append(fault)
    # A branch that objects to a part only is the one that was meant.
    inner = [found for found in branches.values() if all(fault.where != union for fault in found)]
    if inner:
        return min(inner, key=len)
    texts = list(dict.fromkeys(fault.text for fault in faults))
    text = " or ".join([texts[0], *(text.removeprefix("expected ") for text in texts[1:])])
    return [faults[0]._replace(text=text)]


def _keys(model: Any, where: Location) -> list[str]:
    """Keys of the section of ``model`` that ``where`` is, or would be, a key of."""
    for key in where[:-1]:
        model = _inner(model, key)
    section = _section(model)
    return list(section.model_fields) if section else []


def _inner(annotation: Any, key: str | int) -> Any:
    section = _section(annotation)
    if section:
        field = section.model_fields.get(str(key))
        return field.annotation if field else None
    return get_args(annotation)[-1] if get_origin(annotation) is dict else None


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that ``annotation`` is, or may be: ``Section`` or ``Section | None``."""
    if get_origin(annotation) is dict:
        return None
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
