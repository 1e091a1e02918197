"""Fields of a configuration whose values are paths or plug-ins.

A *component* (data source, split, trunk, convolution, optimiser, schedule, weighting, estimator, launcher, scheduler)
is a name, or a mapping with ``name`` and that component's own options; its options are declared in the component's own
file and checked here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ensemble_mtl.config import registry
from ensemble_mtl.config.checked import nested


def _resolve(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    return path if base is None else Path(base, path.expanduser()).resolve()


ConfigPath = Annotated[Path, AfterValidator(_resolve)]
"""A path in a configuration: absolute, or relative to the configuration's own folder."""


class Component:
    """Marks a field whose value names a plug-in; the field then holds that plug-in's ``Options``.

    Args:
        package: the folder of the plug-in's family, such as ``train.optimizer``.
        default: the plug-in whose options a mapping without ``name`` gives; if None, the name is required.
    """

    def __init__(self, package: str, default: str | None = None) -> None:
        self.package, self.default = package, default

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Tell pydantic to pass the value to :meth:`read`, and to accept what it returns."""
        return core_schema.with_info_before_validator_function(self.read, core_schema.any_schema())

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The JSON schema of the field: a plug-in's name, or a mapping with the options of one of them."""
        family = registry.family(self.package)
        names = family.names()
        mappings: list[dict[str, Any]] = []
        for name in names:
            options = handler(family.load(name).Options.__pydantic_core_schema__)
            if name != self.default:
                options = {**options, "required": ["name", *options.get("required", [])]}
            mappings.append(options)
        return {"anyOf": [{"enum": names}, *mappings]}

    def read(self, value: Any, info: ValidationInfo) -> Any:
        """The options that ``value`` stands for: a name, a mapping, or options that have been read already.

        Raises:
            PydanticCustomError: there is no such plug-in, or its options are wrong.
        """
        if isinstance(value, registry.Options):
            return value
        options = {"name": value} if isinstance(value, str) else value
        if isinstance(options, dict) and self.default and "name" not in options:
            options = {"name": self.default, **options}
        if not isinstance(options, dict) or not isinstance(options.get("name"), str):
            raise PydanticCustomError("component", "expected a name, or a mapping with 'name'")
        try:
            model = registry.family(self.package).load(options["name"]).Options
        except ValueError as error:
            raise PydanticCustomError("component", "{reason}", {"reason": str(error)}) from None
        try:
            return model.model_validate(options, context=info.context)
        except ValidationError as error:
            raise nested(error.errors(), model) from None


class NameOf:
    """Marks a text that is the name of a plug-in without options, so that its JSON schema lists the names."""

    def __init__(self, package: str) -> None:
        self.package = package

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The JSON schema of the field: one of the names of the family's plug-ins."""
        return {"enum": registry.names(self.package)}


# One alias per family; values are the families' own Options models.
SourceChoice = Annotated[Any, Component("data.sources")]
SplitChoice = Annotated[Any, Component("data.split", "random")]
TrunkChoice = Annotated[Any, Component("models.trunk", "convolutions")]
ConvChoice = Annotated[Any, Component("models.conv", "pna")]
OptimizerChoice = Annotated[Any, Component("train.optimizer", "adam")]
ScheduleChoice = Annotated[Any, Component("train.schedule", "constant")]
WeightingChoice = Annotated[Any, Component("train.weighting", "fixed")]
LauncherChoice = Annotated[Any, Component("launch", "local")]
SchedulerChoice = Annotated[Any, Component("cluster")]
TraceChoice = Annotated[Any, Component("curvature.trace", "hutchinson")]
DensityChoice = Annotated[Any, Component("curvature.density", "quadrature")]
FigureName = Annotated[str, NameOf("report.figures")]
