"""Configuration files: what is refused, and that the message names file, line and key."""

from pathlib import Path

import pytest

from ensemble_mtl.config import file as config_file
from ensemble_mtl.core.errors import ConfigError

MINIMAL = """\
name: small
data:
  name: alloy
  num_configurations: 40
tasks:
  H: {target: mixing_enthalpy}
  M: {target: magnetic_moment}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def fault(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config_file.load(write(folder, text), overrides)
    return str(caught.value)


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    config = config_file.load(write(tmp_path, MINIMAL))
    assert config.seed_list == tuple(range(12))
    assert config.model.trunk.conv.name == "pna"
    assert config.train.optimizer.lr == 1e-3


@pytest.mark.parametrize(
    ("added", "line", "words"),
    [
        ("seds: 3\n", 8, ["seds", "unknown key", "did you mean 'seeds'"]),
        ("train:\n  epocs: 3\n", 9, ["train.epocs", "did you mean 'epochs'"]),
        ("train:\n  optimizer: {name: adm}\n", 9, ["train.optimizer", "adm", "did you mean 'adam'"]),
        ("train:\n  optimizer: {name: adam, rate: 1}\n", 9, ["train.optimizer.rate", "unknown key"]),
        ("train:\n  epochs: -1\n", 9, ["train.epochs", "greater than 0", "-1"]),
        ("model:\n  trunk: {conv: gnn}\n", 9, ["model.trunk.conv", "gnn", "pna"]),
        ("subsets: [[H, X]]\n", 8, ["subsets.0.1", "X"]),
        ("subsets: [[H], [H]]\n", 8, ["subsets.1", "expected each subset once, got ['H']"]),
        ("subsets: [[H, H]]\n", 8, ["subsets.0", "expected each task once, got ['H', 'H']"]),
        ("subsets: [[H], []]\n", 8, ["subsets.1", "expected at least one task, got []"]),
        ("seeds: [1, 1]\n", 8, ["seeds", "distinct"]),
        ("fractions: [0.5, 2]\n", 8, ["fractions"]),
        ("name: again\n", 8, ["'name' stands twice", "first on line 1"]),
        ("graph: {node_features: one_hot}\n", 8, ["one_hot", "elements"]),
        ("train:\n  weighting: {name: dva}\n", 9, ["train.weighting", "dva", "did you mean 'dwa'"]),
        ("train:\n  weighting: {name: dwa, temperature: 0}\n", 9, ["temperature", "greater than 0"]),
        ("train:\n  weighting: {name: torchjd}\n", 9, ["train.weighting.aggregator", "required"]),
        ("weightings:\n  - fixed\n  - dwa\n  - fixed\n", 11, ["weightings.2", "'fixed' twice"]),
        ("weightings: [fixed, dwa]\ntrain:\n  weighting: dwa\n", 10, ["train.weighting", "first of the list"]),
        ("subsets: [[H], [M]]\nweightings: [fixed, dwa]\n", 9, ["weightings", "several tasks"]),
        ("graph: {node_features: one_hot, elements: [Fe, Xx]}\n", 8, ["Xx", "symbols"]),
    ],
)
def test_faults_are_named_with_their_line(tmp_path: Path, added: str, line: int, words: list[str]) -> None:
    message = fault(tmp_path, MINIMAL + added)
    assert f"study.yaml:{line}:" in message
    for word in words:
        assert word in message, message


def test_every_fault_is_listed_at_once(tmp_path: Path) -> None:
    message = fault(tmp_path, MINIMAL + "seds: 3\ntrain:\n  epochs: none\n")
    assert "seds" in message
    assert "train.epochs" in message


def test_missing_keys_are_named(tmp_path: Path) -> None:
    message = fault(tmp_path, "name: small\n")
    assert "data: required, but missing" in message
    assert "tasks: required, but missing" in message


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n"])
def test_what_is_not_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert "expected a mapping" in fault(tmp_path, text)


def test_broken_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    assert "study.yaml:9" in fault(tmp_path, MINIMAL + "train: {epochs: 3\nseeds: 2\n")


def test_a_missing_file_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config_file.load(tmp_path / "none.yaml")
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file"):
        config_file.load(path)


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    assert "could not determine a constructor" in fault(tmp_path, MINIMAL + "out: !!python/name:os.system x\n")


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("train.epochs=3", ("train", "epochs"), 3),
        ("train.optimizer.lr=1e-2", ("train", "optimizer", "lr"), 1e-2),
        ("train.optimizer=adamw", ("train", "optimizer", "name"), "adamw"),
        ("model.trunk.conv=gin", ("model", "trunk", "conv", "name"), "gin"),
        ("seeds=[4, 5]", ("seeds",), (4, 5)),
        ("data.num_configurations=50", ("data", "num_configurations"), 50),
    ],
)
def test_overrides_beat_the_file(tmp_path: Path, override: str, path: tuple[str, ...], value: object) -> None:
    found: object = config_file.load(write(tmp_path, MINIMAL), (override,))
    for name in path:
        found = getattr(found, name)
    assert found == value


@pytest.mark.parametrize("override", ["epochs", "=3", "train..epochs=3", "name.x=3 : 4: :"])
def test_broken_overrides_are_refused(tmp_path: Path, override: str) -> None:
    assert "--set" in fault(tmp_path, MINIMAL, override)


def test_paths_resolve_against_the_configurations_folder(tmp_path: Path) -> None:
    text = MINIMAL.replace("name: alloy\n  num_configurations: 40", "name: lsms\n  path: raw/files") + "out: ../here\n"
    config = config_file.load(write(tmp_path, text))
    assert config.data.path == tmp_path / "raw/files"
    assert config.out == tmp_path.parent / "here"


def test_a_resolved_configuration_is_the_same_study(tmp_path: Path) -> None:
    import yaml

    from ensemble_mtl.study.plan import members

    config = config_file.load(write(tmp_path, MINIMAL))
    again = tmp_path / "resolved.yaml"
    again.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert members(config_file.load(again)) == members(config)


def test_an_override_by_the_name_that_is_there_keeps_its_options(tmp_path: Path) -> None:
    text = MINIMAL + "launch: {launcher: {name: local, workers: 3}}\n"
    kept = config_file.load(write(tmp_path, text), ["launch.launcher=local"])
    assert kept.launch.launcher.workers == 3
    other = config_file.load(write(tmp_path, text), ["launch.launcher=mpi"])
    assert other.launch.launcher.model_dump() == {"name": "mpi"}


@pytest.mark.parametrize("added", ["train: {weighting: equal}\n", "weightings: [fixed, equal]\n"])
def test_equal_weights_are_refused_where_a_task_has_another(tmp_path: Path, added: str) -> None:
    text = MINIMAL.replace("mixing_enthalpy}", "mixing_enthalpy, weight: 2}") + added
    message = fault(tmp_path, text)
    assert message.endswith(
        "study.yaml:6: tasks.H.weight: expected 1, or no weight, since the weighting is 'equal'; "
        "'fixed' takes weights, got 2.0"
    )
    config_file.load(write(tmp_path, text.replace("weight: 2", "weight: 1")))


def test_an_aggregator_that_is_not_installed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble_mtl.train.weighting.torchjd.find_spec", lambda name: None)
    message = fault(tmp_path, MINIMAL + "train:\n  weighting:\n    name: torchjd\n    aggregator: pcgrad\n")
    assert "study.yaml:11: train.weighting.aggregator: got 'pcgrad', which needs torchjd, not installed" in message
    assert "pip install 'ensemble-mtl[torchjd]'" in message
    assert len(message.splitlines()) == 1
