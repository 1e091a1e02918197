"""``ensemble-mtl schema``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ensemble_mtl.analysis.summary_schema import summary_schema
from ensemble_mtl.cli.schema import SCHEMAS, command

ROOT = Path(__file__).parents[3]


def test_the_schema_of_the_summary_is_printed() -> None:
    result = CliRunner().invoke(command, ["summary"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == summary_schema()


@pytest.mark.parametrize(("kind", "committed"), [("config", "configs/schema.json"), ("site", "hpc/sites/schema.json")])
def test_committed_schemas_are_those_that_are_printed(kind: str, committed: str) -> None:
    result = CliRunner().invoke(command, [kind])
    assert result.stdout == (ROOT / committed).read_text()


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_kind_is_a_schema_with_a_title(kind: str) -> None:
    schema = SCHEMAS[kind]()
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["title"]


def test_an_unknown_kind_is_refused_with_those_that_there_are() -> None:
    result = CliRunner().invoke(command, ["sumary"])
    assert result.exit_code == 2
    assert "'summary'" in result.stderr
