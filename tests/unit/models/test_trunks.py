"""The choice of a trunk in a configuration, and what every trunk offers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from ensemble_mtl.config import file as config_file
from ensemble_mtl.config.sections import ModelConfig
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import ConfigError
from ensemble_mtl.models.spec import ModelSpec, of_subset
from ensemble_mtl.models.trunk import base as trunks
from ensemble_mtl.models.trunk import convolutions
from ensemble_mtl.study import plan

NAMES = trunks.FAMILY.names()
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
def test_what_is_written_is_read_back(name):
    config = ModelConfig(trunk={"name": name, "width": 7}, heads=(3,))
    assert ModelConfig.model_validate(config.model_dump(mode="json")) == config
    assert config.trunk.width == 7


def test_without_a_trunk_there_are_convolutions_of_pna(tmp_path):
    trunk = load(tmp_path, "{heads: [3]}").model.trunk
    assert trunk == convolutions.Options()
    assert (trunk.conv.name, trunk.layers, trunk.width, trunk.pooling) == ("pna", 6, 20, "mean")


@pytest.mark.parametrize("name", NAMES)
def test_a_trunk_by_its_name_has_all_of_its_defaults(tmp_path, name):
    assert load(tmp_path, f"{{trunk: {name}}}").model.trunk == trunks.FAMILY.load(name).Options()


def test_a_mapping_without_a_name_is_of_the_default_trunk(tmp_path):
    trunk = load(tmp_path, "{trunk: {conv: gin, layers: 2, pooling: sum}}").model.trunk
    assert trunk == convolutions.Options(conv="gin", layers=2, pooling="sum")


def test_the_graph_network_has_its_own_parameters_and_members(tmp_path):
    text = "{{trunk: {{name: graph_network, steps: {}, width: 8}}, heads: []}}"
    config = load(tmp_path, text.format(2))
    names = set(of_subset(config, ("H",)).parameters())
    assert {"trunk.nodes.weight", "trunk.steps.0.edge_norm.bias", "heads.H.0.weight"} <= names
    assert plan.members(config) != plan.members(load(tmp_path, text.format(3)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "trunk: graph_net",
            "model.trunk: got 'graph_net', expected one of convolutions, graph_network; did you mean ",
        ),
        ("trunk: [1]", "model.trunk: expected a name, or a mapping with 'name'"),
        (
            "trunk: {name: graph_network, conv: pna}",
            "model.trunk.conv: unknown key; expected one of name, width, steps, share_weights",
        ),
        ("trunk: {layrs: 2}", "model.trunk.layrs: unknown key (did you mean 'layers'?); expected one of name, width,"),
        ("layers: 2", "model.layers: unknown key; expected one of trunk, heads, edge_basis"),
        ("trunk: {name: graph_network, steps: 0}", "model.trunk.steps: expected a number greater than 0, got 0"),
        ("trunk: {name: graph_network, steps: true}", "model.trunk.steps: expected an integer, got True"),
        (
            "{trunk: {conv: gin}, edge_basis: 3}",
            "model.edge_basis: conv 'gin' has no use for features of edges; use one of cgcnn, gatv2, pna, or leave it",
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
        load(tmp_path, "{trunk: {name: graph_network, steps: 0}, heads: [0], edge_basis: x}")
    assert len(str(caught.value).splitlines()) == 3


def test_overrides_choose_a_trunk_and_its_options(tmp_path):
    config = load(tmp_path, "{heads: [3]}", "model.trunk=graph_network", "model.trunk.steps=2")
    assert (config.model.trunk.name, config.model.trunk.steps) == ("graph_network", 2)
    assert load(tmp_path, "{heads: [3]}", "model.trunk.conv.heads=2", "model.trunk.conv=gatv2").model.trunk.layers == 6
    with pytest.raises(ConfigError, match=r"--set model\.trunk=x: model\.trunk: got 'x', expected one of"):
        load(tmp_path, "{}", "model.trunk=x")


def test_faults_in_python_are_told_too():
    with pytest.raises(ValueError, match="got 'x', expected one of convolutions"):
        ModelConfig(trunk="x")
    with pytest.raises(ValidationError, match="layers"):
        ModelConfig(trunk={"name": "graph_network", "layers": 2})


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
