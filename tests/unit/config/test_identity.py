"""What names a member: the rule of ``config/identity.py``, and the defaults and names that are committed.

``ENSEMBLE_MTL_GOLDEN=write pytest tests/unit/config/test_identity.py`` writes the committed files anew, after
:data:`ensemble_mtl.config.identity.SCHEMA` has been raised or an option has been added.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import pytest
from helpers import identities

from ensemble_mtl.config import file as config_file
from ensemble_mtl.config import identity
from ensemble_mtl.config.checked import NOT_IDENTITY
from ensemble_mtl.config.components import ScheduleChoice
from ensemble_mtl.config.sections import GraphConfig, ModelConfig, StoppingConfig, TrainConfig
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.models.trunk import convolutions
from ensemble_mtl.study import plan
from ensemble_mtl.train.optimizer import adam

FOLDER = Path(__file__).parent
DEFAULTS = FOLDER / f"defaults_schema_{identity.SCHEMA}.json"
IDENTITIES = FOLDER / f"identities_schema_{identity.SCHEMA}.json"
RAISE = "raise SCHEMA in config/identity.py by one, then write the files anew as this file's docstring says"


def committed(path: Path, values: dict[str, Any]) -> Any:
    """What the file holds, after it has been written anew if that is asked for."""
    if os.environ.get("ENSEMBLE_MTL_GOLDEN") == "write":
        path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n")
    return json.loads(path.read_text())


def differences(before: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Options that were added, removed, or whose defaults changed, as ``section.option``."""
    old, new = (
        {f"{section}.{key}": value for section, options in table.items() for key, value in options.items()}
        for table in (before, now)
    )
    return {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(key for key in old.keys() & new.keys() if old[key] != new[key]),
    }


def test_no_default_changes_under_one_schema() -> None:
    now = json.loads(json.dumps(identities.defaults()))
    found = differences(committed(DEFAULTS, now), now)
    assert not found["changed"], f"other defaults: {RAISE}"
    assert not found["removed"], f"options are gone or have other names: {RAISE}"
    assert not found["added"], f"new options, which rename no member: add them to {DEFAULTS.name}"


def test_the_committed_defaults_are_of_everything_that_decides_a_result() -> None:
    table = identities.defaults()
    assert {"study", "study.graph", "study.tasks", "study.train.early_stopping", "study.probes"} <= table.keys()
    assert {"models.trunk.graph_network", "models.conv.pna", "train.weighting.dwa", "data.sources.lsms"} <= table.keys()
    assert {"curvature.trace.deflated", "data.split.composition", "data.sources.alloy.hamiltonian"} <= table.keys()
    assert not {name for name in table if name.startswith(("launch", "study.report", "study.launch"))}
    assert table["study.train"].keys().isdisjoint({"device", "checkpoint_seconds", "test_every"})
    assert table["study.model"] == {"trunk": {"name": "convolutions"}, "heads": [50, 25], "edge_basis": None}


def test_a_changed_default_is_noticed() -> None:
    before, now = identities.defaults(), identities.defaults()
    now["train.optimizer.adam"] = {**now["train.optimizer.adam"], "eps": 1e-6, "amsgrad": False}
    del now["study.graph"]["periodic"]
    assert differences(before, now) == {
        "added": ["train.optimizer.adam.amsgrad"],
        "removed": ["study.graph.periodic"],
        "changed": ["train.optimizer.adam.eps"],
    }


def test_members_of_the_shipped_configurations_keep_their_names() -> None:
    now = json.loads(json.dumps(identities.shipped()))
    assert committed(IDENTITIES, now) == now, f"members have other names: {RAISE}"


def study(**sections: Any) -> StudyConfig:
    tasks = {"H": {"target": "mixing_enthalpy"}, "M": {"target": "magnetic_moment", "weight": 2}}
    return StudyConfig.model_validate({"name": "small", "data": "alloy", "tasks": tasks, "seeds": 1, **sections})


def ids(config: StudyConfig) -> list[str]:
    return [member.id for member in plan.members(config)]


def test_the_identity_of_defaults_is_the_schema_and_what_has_none() -> None:
    found = identity.of_members(study(), ("H", "M"), TrainConfig())
    assert found == {
        "schema": identity.SCHEMA,
        "data": {"name": "alloy"},
        "tasks": {"H": {"target": "mixing_enthalpy"}, "M": {"target": "magnetic_moment", "weight": 2.0}},
    }


def test_only_what_differs_from_a_default_is_part_of_it() -> None:
    train = TrainConfig(optimizer={"name": "adam", "lr": 1}, early_stopping={"patience": 3}, schedule="cosine")
    assert identity.of(train) == {
        "optimizer": {"name": "adam", "lr": 1.0},
        "schedule": {"name": "cosine"},
        "early_stopping": {"patience": 3},
    }
    assert identity.of(TrainConfig(early_stopping=None)) == {"early_stopping": None}
    model = ModelConfig(trunk={"conv": {"name": "pna", "scalers": ["linear"]}})
    assert identity.of(model) == {"trunk": {"name": "convolutions", "conv": {"name": "pna", "scalers": ["linear"]}}}


def test_written_defaults_name_the_same_members() -> None:
    written = StudyConfig.model_validate(study().model_dump(mode="json"))
    assert ids(written) == ids(study())


def test_another_schema_renames_every_member(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids(study())
    monkeypatch.setattr(identity, "SCHEMA", identity.SCHEMA + 1)
    assert not set(before) & set(ids(study()))


class WithOption(adam.Options):
    amsgrad: bool = False


class GraphWithOption(GraphConfig):
    max_neighbors: int | None = None


class ModelWithComponent(ModelConfig):
    readout: ScheduleChoice = "constant"


class StoppingWithOption(StoppingConfig):
    min_delta: float = 0.0


class ConvolutionsWithOption(convolutions.Options):
    residual: bool = False


class StudyWithSection(StudyConfig):
    augment: GraphConfig | None = None


def test_a_new_option_with_a_default_renames_no_member() -> None:
    before = study(train={"optimizer": {"lr": 0.1}, "early_stopping": {"patience": 3}})
    train = before.train.model_copy(
        update={"optimizer": WithOption(lr=0.1), "early_stopping": StoppingWithOption(patience=3)}
    )
    model = ModelWithComponent(trunk=ConvolutionsWithOption())
    sections = {"train": train, "graph": GraphWithOption(), "model": model}
    after = StudyWithSection.model_construct(**{**dict(before), **sections}, augment=None)
    assert ids(after) == ids(before)
    for changed in (
        {"train": train.model_copy(update={"optimizer": WithOption(lr=0.1, amsgrad=True)})},
        {"graph": GraphWithOption(max_neighbors=12)},
        {"model": ModelWithComponent(readout="cosine")},
        {"model": ModelWithComponent(trunk=ConvolutionsWithOption(residual=True))},
        {"augment": GraphConfig()},
    ):
        assert not set(ids(before)) & set(ids(after.model_copy(update=changed)))


def test_what_is_marked_is_left_out() -> None:
    class Marked(GraphConfig):
        shown: Annotated[bool, NOT_IDENTITY] = False

    assert identity.of(Marked(shown=True)) == {}
    assert identity.of(study(tasks={"H": {"target": "mixing_enthalpy", "label": "H"}}).tasks["H"]) == {
        "target": "mixing_enthalpy"
    }


def test_a_path_counts_by_its_last_part(tmp_path: Path) -> None:
    text = "name: a\ndata: {name: lsms, path: files.tar, workers: 3}\ntasks: {H: {target: mixing_enthalpy}}\n"
    (tmp_path / "study.yaml").write_text(text)
    data = config_file.load(tmp_path / "study.yaml").data
    assert data.path == tmp_path / "files.tar"
    assert identity.of(data) == {"name": "lsms", "path": "files.tar"}


def test_the_order_of_keys_does_not_matter() -> None:
    assert identity.digest({"a": 1, "b": [2]}) == identity.digest({"b": [2], "a": 1})
    assert identity.digest({"a": 1}) != identity.digest({"a": 2})
