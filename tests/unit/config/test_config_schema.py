"""The JSON Schema of a study's file: what it takes and refuses, and that editors find it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ensemble_mtl.config import file as config_file
from ensemble_mtl.config import registry
from ensemble_mtl.config.schema import config_schema

CONFIGS = Path(__file__).parents[3] / "configs"
SHIPPED = sorted(CONFIGS.glob("*.yaml"))
SCHEMA = config_schema()
MINIMAL: dict[str, Any] = {"name": "small", "data": "alloy", "tasks": {"H": {"target": "mixing_enthalpy"}}}


def written(path: Path) -> dict[str, Any]:
    """The file as the project itself reads YAML, so that 1.0e-3 is a number."""
    return config_file.read(path, "study", "keys")[0]


def accepts(content: dict[str, Any]) -> bool:
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(content)


def changed(content: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """A copy with another value at ``dotted``."""
    found = copy.deepcopy(content)
    *outer, last = dotted.split(".")
    place = found
    for key in outer:
        place = place.setdefault(key, {})
    place[last] = value
    return found


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["required"] == ["name", "data", "tasks"]


def test_the_committed_schema_is_current() -> None:
    text = json.dumps(SCHEMA, indent=1) + "\n"
    assert (CONFIGS / "schema.json").read_text() == text, "write json.dumps(config_schema(), indent=1) there"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_obey_it_and_say_where_it_is(path: Path) -> None:
    jsonschema.validate(written(path), SCHEMA)
    first = path.read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=./")
    assert (path.parent / first.partition("$schema=")[2]).samefile(CONFIGS / "schema.json")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_resolved_configurations_obey_it_too(path: Path) -> None:
    resolved = config_file.load(path).model_dump(mode="json")
    jsonschema.validate(resolved, SCHEMA)


FAMILIES = {
    "data": "data.sources",
    "split": "data.split",
    "model.trunk": "models.trunk",
    "model.trunk.conv": "models.conv",
    "train.optimizer": "train.optimizer",
    "train.schedule": "train.schedule",
    "train.weighting": "train.weighting",
    "probes.trace": "curvature.trace",
    "probes.density": "curvature.density",
    "launch.launcher": "launch",
}
NEEDED = {
    "lsms": {"path": "files"},
    "smiles": {"path": "a.csv", "targets": ["gap"]},
    "torchjd": {"aggregator": "upgrad"},
}
PLUGINS = [(key, name) for key, package in FAMILIES.items() for name in registry.names(package)]


@pytest.mark.parametrize(("key", "name"), PLUGINS)
def test_every_plug_in_is_taken_by_its_name_and_with_its_options(key: str, name: str) -> None:
    options = {"name": name, **NEEDED.get(name, {})}
    assert accepts(changed(MINIMAL, key, options))
    assert not accepts(changed(MINIMAL, key, {**options, "no_such_option": 1}))
    if name not in NEEDED:
        assert accepts(changed(MINIMAL, key, name))


@pytest.mark.parametrize("key", FAMILIES)
def test_an_unknown_plug_in_is_refused(key: str) -> None:
    assert not accepts(changed(MINIMAL, key, "no_such_plugin"))
    assert not accepts(changed(MINIMAL, key, {"name": "no_such_plugin"}))


def test_a_mapping_without_a_name_is_of_the_default() -> None:
    assert accepts(changed(MINIMAL, "train.optimizer", {"lr": 0.1}))
    assert accepts(changed(MINIMAL, "model.trunk", {"layers": 3}))
    assert not accepts(changed(MINIMAL, "model.trunk", {"share_weights": False}))
    assert not accepts(changed(MINIMAL, "data", {"num_configurations": 40}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seds", 3),
        ("train.epocs", 3),
        ("model.layers", 3),
        ("model.trunk", {"layrs": 3}),
        ("tasks.H.wieght", 2),
        ("train.epochs", "three"),
        ("train.epochs", 0),
        ("train.optimizer", {"lr": "fast"}),
        ("train.early_stopping", 3),
        ("graph.radius_unit", "nm"),
        ("subsets", [["H", 1]]),
        ("probes", {"epochs": ["ende"]}),
        ("tasks", []),
        ("weightings", ["fixed", "dva"]),
        ("data", {"name": "smiles", "path": "a.csv"}),
        ("data", {"name": "lsms"}),
        ("report", {"figures": ["parties"]}),
    ],
    ids=str,
)
def test_mistakes_are_refused(key: str, value: Any) -> None:
    assert accepts(MINIMAL)
    assert not accepts(changed(MINIMAL, key, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("probes", None),
        ("train.early_stopping", None),
        ("subsets", "all"),
        ("seeds", [1, 5]),
        ("seeds", 3),
        ("weightings", ["fixed", {"name": "torchjd", "aggregator": "mgda"}]),
        ("data", {"name": "smiles", "path": "a.csv", "targets": {"gap": "eV", "f1": None}}),
        ("data", {"name": "lsms", "path": "a", "cell": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}),
        ("report.figures", ["parity"]),
        ("graph", {"node_features": "one_hot", "elements": "found"}),
    ],
    ids=str,
)
def test_what_is_right_is_taken(key: str, value: Any) -> None:
    assert accepts(changed(MINIMAL, key, value))


def test_descriptions_are_those_of_the_docstrings() -> None:
    assert SCHEMA["properties"]["fractions"]["description"].startswith("The shares of the training part to train on,")
    model = SCHEMA["$defs"]["ModelConfig"]["properties"]
    _, convolutions, network = model["trunk"]["anyOf"]
    assert convolutions["title"] == "convolutions"
    assert network["properties"]["steps"]["description"] == "Number of message-passing steps."
    assert "Attributes:" not in json.dumps(SCHEMA)
    assert "``" not in json.dumps(SCHEMA)


def test_every_option_of_a_section_is_described() -> None:
    """A plug-in's options are described where their name does not say it; a section's always."""
    missing = [
        f"{name}.{key}"
        for name, section in {**SCHEMA["$defs"], "StudyConfig": SCHEMA}.items()
        for key, value in section["properties"].items()
        if "description" not in value and "$ref" not in value
    ]
    assert missing == []
