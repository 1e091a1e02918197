"""The JSON Schema of ``summary.json``, for those who read it with their own programs."""

from __future__ import annotations

from typing import Any

from ensemble_mtl.analysis.summary import VERSION, Summary
from ensemble_mtl.config.schema import DIALECT, WithoutFieldTitles


def summary_schema() -> dict[str, Any]:
    """The JSON Schema of a summary; every field has a description that gives its unit."""
    schema = Summary.model_json_schema(schema_generator=WithoutFieldTitles)
    return {"$schema": DIALECT, **schema, "title": f"summary.json of an ensemble-mtl study, version {VERSION}"}
