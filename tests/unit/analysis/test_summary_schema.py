"""The published JSON Schema holds for real summaries, and for nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from helpers import fake_study

from ensemble_mtl.analysis import summary_file
from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.analysis.summary_schema import summary_schema
from ensemble_mtl.study.directory import Study

SCHEMA = jsonschema.Draft202012Validator(summary_schema())


def complete(root: Path) -> Study:
    """Probes, pairs, and enough seeds for verdicts."""
    study = fake_study.make_study(root, seeds=5)
    fake_study.finish_all(study)
    return study


def nothing(root: Path) -> Study:
    return fake_study.make_study(root)


def in_trouble(root: Path) -> Study:
    """Failed, damaged and missing members, and a lost split."""
    study = fake_study.make_study(root, seeds=3)
    first, second, third, *others = study.plan()
    fake_study.fail(study, first, "loss is not finite")
    fake_study.finish(study, second, data_sha256="f" * 64)
    for member in others:
        fake_study.finish(study, member)
    assert not study.result(third).exists()
    study.split(0).unlink()
    return study


def of_weightings(root: Path) -> Study:
    study = fake_study.make_study(root, seeds=2, weightings=("fixed", "dwa"), split_seeds=(0, 1, 2, 3, 4))
    fake_study.finish_all(study)
    return study


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What stands in ``summary.json`` of each study."""
    found = {}
    for make in (complete, nothing, in_trouble, of_weightings):
        study = make(tmp_path_factory.mktemp(make.__name__))
        summary_file.write_summary(study, gather(study))
        found[make.__name__] = json.loads((study.root / "summary.json").read_text())
    return found


@pytest.mark.parametrize("name", ["complete", "nothing", "in_trouble", "of_weightings"])
def test_real_summaries_are_valid(name: str, contents: dict[str, dict[str, Any]]) -> None:
    SCHEMA.validate(contents[name])


def test_the_studies_have_rows_of_every_kind(contents: dict[str, dict[str, Any]]) -> None:
    """Or the schema of some kind of row would be tested by no summary."""
    lists = [(key, value) for content in contents.values() for key, value in content.items() if isinstance(value, list)]
    assert {key for key, _ in lists} == {key for key, value in lists if value}
    comparisons = [row["against_first"] for row in contents["of_weightings"]["weighting_effects"]]
    assert None in comparisons
    assert any(comparisons)


BROKEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "missing key": lambda c: c.pop("cells"),
    "missing key of a row": lambda c: c["cells"][0].pop("unit"),
    "another version": lambda c: c.update(version=3),
    "unknown key": lambda c: c.update(gains=[]),
    "unknown key of a row": lambda c: c["cells"][0].update(mean=1.0),
    "text for a number": lambda c: c["cells"][0]["error"].update(mean="1.0"),
    "a fraction of members": lambda c: c["cells"][0]["error"].update(members=2.5),
    "fewer than no members": lambda c: c["cells"][0].update(planned=-1),
    "half an interval": lambda c: c["comparisons"][0]["against_alone"].update(ci95=[0.1]),
    "unknown verdict": lambda c: c["comparisons"][0]["against_alone"].update(verdict="draws"),
    "unknown metric": lambda c: c["cells"][0].update(metric="mse"),
    "unknown epoch": lambda c: c["curvature"][0].update(epoch="start"),
    "three tasks of a pair": lambda c: c["curvature_pairs"][0].update(tasks=["H", "C", "M"]),
    "null for text": lambda c: c.update(study=None),
    "no list": lambda c: c.update(cells={}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_summaries_are_not_valid(name: str, contents: dict[str, dict[str, Any]]) -> None:
    content = json.loads(json.dumps(contents["complete"]))
    BROKEN[name](content)
    with pytest.raises(jsonschema.ValidationError):
        SCHEMA.validate(content)


def test_no_field_can_be_left_out_or_added() -> None:
    schema = summary_schema()
    for part in (schema, *schema["$defs"].values()):
        assert part["required"] == list(part["properties"])
        assert part["additionalProperties"] is False


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, part in {"": schema, **schema["$defs"]}.items():
        for key, field in part.get("properties", {}).items():
            yield f"{name}.{key}", field


def test_the_schema_is_one_and_describes_every_field() -> None:
    schema = summary_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "summary.json of an ensemble-mtl study, version 2"
    described = dict(fields(schema))
    assert {".cells", "ErrorCell.error", "Comparison.p_holm", "CurvaturePair.wasserstein"} <= described.keys()
    assert not [name for name, field in described.items() if not field.get("description", "").endswith(".")]
    assert all(part["description"] for part in schema["$defs"].values())


@pytest.mark.parametrize("name", ["seconds", "percent"])
def test_units_of_named_fields_are_described(name: str) -> None:
    words = {"seconds": ("second", "pure number"), "percent": ("per cent",)}[name]
    found = {key: field["description"] for key, field in fields(summary_schema()) if name in key.split(".")[1]}
    assert found
    assert not [key for key, text in found.items() if not any(word in text for word in words)]
