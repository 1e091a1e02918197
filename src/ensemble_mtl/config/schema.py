"""JSON Schemas of configuration files, by which editors complete keys, show what they mean, and mark mistakes.

Their descriptions are the docstrings of the sections and options. That of a key stands below the key in the class, or
under ``Attributes:`` in the docstring of the class.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from ensemble_mtl.config.registry import Options
from ensemble_mtl.config.study import StudyConfig

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> dict[str, Any]:
    """The schema of a study's YAML file: every section, and each plug-in by its name alone or with its options."""
    return file_schema(StudyConfig)


def file_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a file that is read as ``model``, the options of every plug-in included."""
    return {"$schema": DIALECT, **model.model_json_schema(schema_generator=_WithDescriptions)}


class WithoutFieldTitles(GenerateJsonSchema):
    """Leaves out the titles that pydantic makes of the names of fields, since they say nothing new."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Whether a field gets a title: none does."""
        return False


class _WithDescriptions(WithoutFieldTitles):
    """Adds the descriptions, and gives the options of a plug-in the plug-in's name as their title."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """The schema of one section, or of one plug-in's options."""
        section = super().model_schema(schema)
        model = schema["cls"]
        section["description"] = summary(model)
        section["title"] = model.model_fields["name"].default if issubclass(model, Options) else model.__name__
        descriptions = key_descriptions(model)
        for key, value in section.get("properties", {}).items():
            if key in descriptions:
                value["description"] = descriptions[key]
        return section


def summary(model: type[BaseModel]) -> str:
    """The docstring of ``model``, as one line, without its list of attributes."""
    return _one_line(inspect.cleandoc(model.__doc__ or "").partition("\nAttributes:")[0])


def key_descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The description of each key, from the docstrings of ``model`` and of the classes that it is derived from."""
    texts: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            texts |= _listed_attributes(base) | _below_keys(base)
    return texts


def _listed_attributes(model: type[BaseModel]) -> dict[str, str]:
    """The description of each key that the class's docstring lists under ``Attributes:``."""
    _, _, listed = inspect.cleandoc(model.__doc__ or "").partition("\nAttributes:\n")
    entries = re.findall(r"^(\w+): (.*(?:\n +.*)*)", textwrap.dedent(listed), re.MULTILINE)
    return {key: _one_line(text) for key, text in entries}


def _below_keys(model: type[BaseModel]) -> dict[str, str]:
    """The description of each key that has a text below it in the source of the class."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101 - for the type checker
    texts = {}
    for pair in itertools.pairwise(definition.body):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[key] = _one_line(text)
    return texts


def _one_line(text: str) -> str:
    """The text as a sentence, without line breaks and the double back quotes of code."""
    line = " ".join(text.split()).replace("``", "`")
    return line[:1].upper() + line[1:]
