"""The base of all that is published as JSON: the summary with its parts, and the records of reproductions."""

from __future__ import annotations

import json
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ensemble_mtl.config.faults import explain
from ensemble_mtl.core.finite import finite_or_none


class JsonModel(BaseModel):
    """A part of a published file: frozen, with finite numbers; unknown keys and values of other types are refused.

    The docstring under a field is its description in the published JSON Schema. It gives the unit, and says when the
    field is null.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _finite(value: Any) -> Any:
    return finite_or_none(value) if isinstance(value, float) else value


def _finite_ends(value: Any) -> Any:
    if not isinstance(value, tuple | list):
        return value
    # an interval is a tuple, which JSON gives as a list
    return None if any(isinstance(end, float) and finite_or_none(end) is None for end in value) else tuple(value)


Number = Annotated[float | None, BeforeValidator(_finite)]
"""A number that may be undefined; NaN and infinity become None."""
Interval = Annotated[tuple[float, float] | None, BeforeValidator(_finite_ends)]
"""The lower and the upper end of an interval; None if one of them is NaN or infinite."""
Count = Annotated[int, Field(ge=0)]
"""A number of things, 0 or more."""

Model = TypeVar("Model", bound=JsonModel)


def parse(text: str | bytes, model: type[Model]) -> Model:
    """Read the JSON ``text`` as a ``model``.

    Raises:
        ValueError: the text is not JSON, or no such model; the message names the first wrong value and the fault.
    """
    try:
        content = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON ({error})") from None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        (where, reason), *further = explain(error, model, content)
        place = ".".join(map(str, where)) or "the whole"
        more = f" (and {len(further)} more)" if further else ""
        raise ValueError(f"{place}: {reason}{more}") from None


def _refuse(constant: str) -> NoReturn:
    """Refuse ``NaN`` and ``Infinity``, which Python's reader accepts although JSON has no such numbers."""
    raise ValueError(f"{constant} is no number in JSON")
