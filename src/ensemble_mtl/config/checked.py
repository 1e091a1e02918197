"""What every part of a configuration has in common, sections and components' options alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidatorFunctionWrapHandler, field_validator
from pydantic_core import PydanticCustomError

Location = tuple[str | int, ...]
Entries = TypeVar("Entries", bound=Sequence[Any])


class Mistake(NamedTuple):
    """What is wrong with a key, which lies below the value that is being checked.

    Attributes:
        where: the key, relative to that value.
        text: one sentence, what was expected.
        given: what stood there.
    """

    where: Location
    text: str
    given: Any


def mistakes(found: list[Mistake]) -> PydanticCustomError:
    """One error for all of them; whoever reads the file names each with its own key and line."""
    return nested([{"type": "value_error", "loc": one.where, "msg": one.text, "input": one.given} for one in found])


def nested(errors: Sequence[Any], model: type[BaseModel] | None = None) -> PydanticCustomError:
    """One error for several.

    Args:
        errors: as pydantic's ``ValidationError.errors()`` gives them.
        model: what was being read, if they are of another model's own reading.
    """
    parts = ((".".join(map(str, error["loc"])), error["msg"]) for error in errors)
    reason = "; ".join(f"{key}: {text}" if key else text for key, text in parts)
    return PydanticCustomError("nested", "{reason}", {"inner": list(errors), "model": model, "reason": reason})


class Checked(BaseModel):
    """Base of what is written in a configuration: frozen, unknown keys and infinite numbers refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        # YAML reads `yes` as true, and pydantic reads true as 1; its strict mode would refuse lists for tuples
        checked = handler(value)
        found = list(_misread(value, checked, ()))
        if found:
            raise mistakes(found)
        return checked


def _misread(given: Any, read: Any, where: Location) -> Iterator[Mistake]:
    """Where a number was made of what is none."""
    if isinstance(read, bool):
        return
    if isinstance(read, int | float):
        wanted = int if isinstance(read, int) else int | float
        if isinstance(given, bool) or not isinstance(given, wanted):
            yield Mistake(where, f"expected {'an integer' if wanted is int else 'a number'}", given)
    elif isinstance(given, dict):
        for key, value in given.items():
            inner = read.get(key) if isinstance(read, dict) else getattr(read, str(key), None)
            yield from _misread(value, inner, (*where, key))
    elif isinstance(given, list | tuple) and isinstance(read, list | tuple):
        for index, (value, inner) in enumerate(zip(given, read, strict=True)):
            yield from _misread(value, inner, (*where, index))


def _distinct(values: Entries) -> Entries:
    if len(set(values)) != len(values):
        raise ValueError("expected each entry once")
    return values


DISTINCT = AfterValidator(_distinct)
"""Marks a sequence whose entries must differ: ``Annotated[tuple[int, ...], DISTINCT]``."""
