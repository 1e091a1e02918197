"""``schema``: the JSON Schemas of files, for editors and for other programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ensemble_mtl.cli.common import print_json


def _summary() -> dict[str, Any]:
    from ensemble_mtl.analysis.summary_schema import summary_schema

    return summary_schema()


def _config() -> dict[str, Any]:
    from ensemble_mtl.config.schema import config_schema

    return config_schema()


def _site() -> dict[str, Any]:
    from ensemble_mtl.cluster.site import schema

    return schema()


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {"summary": _summary, "config": _config, "site": _site}
"""A kind of file -> a function that makes its schema; it imports what it needs when it is called."""


@click.command()
@click.argument("kind", metavar="KIND", type=click.Choice(list(SCHEMAS)))
def command(kind: str) -> None:
    """Print the JSON Schema (draft 2020-12) of a KIND of file.

    summary is a study's summary.json, config the YAML file of a study, and site the profile of a cluster.
    """
    print_json(SCHEMAS[kind]())
