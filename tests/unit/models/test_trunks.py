"""The choice of a trunk in a configuration, and what every trunk offers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from ensemble_mtl.config import file as config_file
from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import ModelConfig
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import ConfigError
from ensemble_mtl.models.spec import ModelSpec, of_subset
from ensemble_mtl.study import plan

NAMES = registry.names("models.trunk")
STUDY = """\
name: small
data: {name: alloy, num_configurations: 40}
tasks: {H: {target: mixing_enthalpy}}
model:
"""


def load(folder: Path, model: str, *overrides: str) -> StudyConfig:
    path = folder / "study.yaml"
    path.write_text(f"{STUDY}  {model}\n")
    return config_file.load(path, overrides)


@pytest.mark.parametrize("name", NAMES)
def test_every_trunk_declares_its_options(name):
    options = registry.load("models.trunk", name).Options
    assert issubclass(options, ModelConfig)
    assert options.model_fields["trunk"].default == name
    assert type(ModelConfig(trunk=name)) is options
    assert type(ModelConfig.model_validate({"trunk": name})) is options
    assert options.model_config["allow_inf_nan"] is False


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read_back(name):
    config = ModelConfig(trunk=name, width=7, heads=(3,))
    assert ModelConfig.model_validate(config.model_dump(mode="json")) == config
    assert config.model_copy() == config


def test_sections_from_before_there_was_a_choice_read_and_write_the_same(tmp_path):
    model = "{conv: gin, layers: 2, width: 8, pooling: sum, heads: [5], edge_basis: null}"
    config = load(tmp_path, model).model
    conv = {"name": "gin", "eps": 0.0, "train_eps": False}
    expected = {"conv": conv, "layers": 2, "width": 8, "pooling": "sum", "heads": (5,), "edge_basis": None}
    assert config.model_dump() == expected
    assert config.trunk == "convolutions"
    assert StudyConfig.model_validate(load(tmp_path, "{}").model_dump()).model == ModelConfig()


def test_the_graph_network_s_options_stand_beside_its_name(tmp_path):
    config = load(tmp_path, "{trunk: graph_network, steps: 2, width: 8, heads: []}")
    assert config.model.model_dump() == {
        "trunk": "graph_network",
        "width": 8,
        "heads": (),
        "edge_basis": None,
        "steps": 2,
        "share_weights": True,
    }
    names = set(of_subset(config, ("H",)).parameters())
    assert {"trunk.nodes.weight", "trunk.steps.0.edge_norm.bias", "heads.H.0.weight"} <= names
    assert plan.members(config) != plan.members(load(tmp_path, "{trunk: graph_network, steps: 3, width: 8, heads: []}"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "trunk: graph_net",
            "model.trunk: got 'graph_net', expected one of convolutions, graph_network; did you mean ",
        ),
        ("trunk: [1]", "model.trunk: got '[1]', expected one of convolutions, graph_network"),
        (
            "{trunk: graph_network, conv: pna}",
            "model.conv: unknown key; expected one of trunk, width, heads, edge_basis, steps, share_weights",
        ),
        ("layrs: 2", "model.layrs: unknown key (did you mean 'layers'?); expected one of trunk, width, heads, edge_"),
        ("{trunk: graph_network, steps: 0}", "model.steps: expected a number greater than 0, got 0"),
        ("{trunk: graph_network, steps: true}", "model.steps: expected an integer, got True"),
        (
            "{conv: gin, edge_basis: 3}",
            "model.edge_basis: conv 'gin' has no use for edge features; leave edge_basis out",
        ),
    ],
)
def test_faults_are_told_with_their_line(tmp_path, model, message):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, model)
    (line,) = str(caught.value).replace(f"{tmp_path}/", "").splitlines()
    assert line.startswith(f"study.yaml:5: {message}")


def test_what_is_no_mapping_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"study\.yaml:4: model: expected a mapping, got \['pna'\]"):
        load(tmp_path, "[pna]")


def test_all_faults_of_a_section_are_told(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "{trunk: graph_network, steps: 0, heads: [0], edge_basis: x}")
    assert len(str(caught.value).splitlines()) == 3


def test_overrides_choose_a_trunk(tmp_path):
    assert load(tmp_path, "{heads: [3]}", "model.trunk=graph_network", "model.steps=2").model.steps == 2
    with pytest.raises(ConfigError, match=r"--set model\.trunk=x: model\.trunk: got 'x', expected one of"):
        load(tmp_path, "{}", "model.trunk=x")


def test_faults_in_python_are_told_too():
    with pytest.raises(ValueError, match="got 'x', expected one of convolutions"):
        ModelConfig(trunk="x")
    with pytest.raises(ValidationError, match="layers"):
        ModelConfig(trunk="graph_network", layers=2)


@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_known_without_torch(name):
    code = (
        "import sys; from ensemble_mtl.models.spec import ModelSpec; "
        "from ensemble_mtl.config.sections import ModelConfig; "
        f"spec = ModelSpec(ModelConfig(trunk={name!r}), ('H',)); spec.num_parameters(); spec.buffers(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_shared_parameters_come_first_and_their_number_is_the_subset_s_own(name):
    one, two = (ModelSpec(ModelConfig(trunk=name), tasks).num_parameters() for tasks in (("H",), ("H", "C")))
    assert one["shared"] == two["shared"]
    assert two["total"] - one["total"] == one["total"] - one["shared"]
