"""Fields of a configuration whose values are paths or extensions.

A *component* (data source, split, convolution, optimiser, schedule, weighting, launcher, scheduler) is a name,
or a mapping with ``name`` and that component's own options; its options are declared in
the component's own file and checked here.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from ensemble_mtl.config import registry
from ensemble_mtl.config.checked import nested


def _resolve(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    return path if base is None else Path(base, path.expanduser()).resolve()


ConfigPath = Annotated[Path, AfterValidator(_resolve)]
"""A path in a configuration: absolute, or relative to the configuration's own folder."""


def _component(package: str, default: str | None, value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, registry.Options):
        return value
    given = {"name": value} if isinstance(value, str) else value
    if isinstance(given, dict) and default and "name" not in given:
        given = {"name": default, **given}
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        raise PydanticCustomError("component", "expected a name, or a mapping with 'name'")
    try:
        module = registry.load(package, given["name"])
    except ValueError as error:
        raise PydanticCustomError("component", "{reason}", {"reason": str(error)}) from None
    try:
        return module.Options.model_validate(given, context=info.context)
    except ValidationError as error:
        raise nested(error.errors(), module.Options) from None


# One alias per family of extensions; the values are the families' own Options models.
SourceOptions = Annotated[Any, BeforeValidator(partial(_component, "data.sources", None))]
SplitOptions = Annotated[Any, BeforeValidator(partial(_component, "data.split", "random"))]
ConvOptions = Annotated[Any, BeforeValidator(partial(_component, "models.conv", "pna"))]
OptimizerOptions = Annotated[Any, BeforeValidator(partial(_component, "train.optimizer", "adam"))]
ScheduleOptions = Annotated[Any, BeforeValidator(partial(_component, "train.schedule", "constant"))]
WeightingOptions = Annotated[Any, BeforeValidator(partial(_component, "train.weighting", "fixed"))]
LauncherOptions = Annotated[Any, BeforeValidator(partial(_component, "launch", "local"))]
SchedulerOptions = Annotated[Any, BeforeValidator(partial(_component, "cluster", None))]
TraceOptions = Annotated[Any, BeforeValidator(partial(_component, "curvature.trace", "hutchinson"))]
DensityOptions = Annotated[Any, BeforeValidator(partial(_component, "curvature.density", "quadrature"))]
