"""The base class of every part of a configuration, be it a section or the options of a plug-in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidatorFunctionWrapHandler, field_validator
from pydantic_core import PydanticCustomError

Location = tuple[str | int, ...]
Entries = TypeVar("Entries", bound=Sequence[Any])


class Mistake(NamedTuple):
    """One key that is wrong, somewhere inside the value that is being checked.

    Attributes:
        where: the path of keys and list positions that leads from that value to the wrong one.
        text: a sentence that says what was expected.
        value: what was read there.
    """

    where: Location
    text: str
    value: Any


def mistakes(entries: Sequence[Mistake]) -> PydanticCustomError:
    """One error that carries all of the ``entries``; ``config/file.py`` reports each of them with its key and line."""
    return nested(
        [
            {"type": "value_error", "loc": mistake.where, "msg": mistake.text, "input": mistake.value}
            for mistake in entries
        ]
    )


def nested(errors: Sequence[Any], model: type[BaseModel] | None = None) -> PydanticCustomError:
    """One error that carries several, so that a validator can report more than one mistake.

    Args:
        errors: the errors, in the form of pydantic's ``ValidationError.errors()``.
        model: the model that reported the errors; None if it is the model whose validator raises the new error.
    """
    parts = ((".".join(map(str, error["loc"])), error["msg"]) for error in errors)
    reason = "; ".join(f"{key}: {text}" if key else text for key, text in parts)
    return PydanticCustomError("nested", "{reason}", {"inner": list(errors), "model": model, "reason": reason})


class Checked(BaseModel):
    """Base of all that is written in a configuration: frozen; unknown keys and infinite numbers are refused.

    Defaults are validated like values, because the default of a component is only a name, which must become options.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        # YAML reads `yes` as true, and pydantic reads true as 1; its strict mode would refuse lists for tuples
        checked = handler(value)
        converted = list(_converted_numbers(value, checked, ()))
        if converted:
            raise mistakes(converted)
        return checked


def _converted_numbers(raw: Any, checked: Any, where: Location) -> Iterator[Mistake]:
    """The places where pydantic has turned something into a number that was no number.

    Args:
        raw: the value as it was read from the file.
        checked: the same value after pydantic's validation.
        where: the place of both.
    """
    if isinstance(checked, bool):
        return
    if isinstance(checked, int | float):
        wanted = int if isinstance(checked, int) else int | float
        if isinstance(raw, bool) or not isinstance(raw, wanted):
            yield Mistake(where, f"expected {'an integer' if wanted is int else 'a number'}", raw)
    elif isinstance(raw, dict):
        for key, value in raw.items():
            fields = vars(checked) if isinstance(checked, BaseModel) else checked if isinstance(checked, dict) else {}
            yield from _converted_numbers(value, fields.get(key), (*where, key))
    elif isinstance(raw, list | tuple) and isinstance(checked, list | tuple):
        for index, (value, checked_value) in enumerate(zip(raw, checked, strict=True)):
            yield from _converted_numbers(value, checked_value, (*where, index))


def _distinct(values: Entries) -> Entries:
    if len(set(values)) != len(values):
        raise ValueError("expected each entry once")
    return values


DISTINCT = AfterValidator(_distinct)
"""Marks a sequence whose entries must differ: ``Annotated[tuple[int, ...], DISTINCT]``."""


class _NotIdentity:
    """The type of :data:`NOT_IDENTITY`."""


NOT_IDENTITY = _NotIdentity()
"""Marks an option that decides no member's result: ``Annotated[bool, NOT_IDENTITY]`` (see ``config/identity.py``)."""
