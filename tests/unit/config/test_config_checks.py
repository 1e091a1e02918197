"""Values that would only fail later, or mean something else than was written, are refused in the author's words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from ensemble_mtl.config import file as config_file
from ensemble_mtl.config import registry
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import ConfigError, DataError
from ensemble_mtl.data import prepare
from ensemble_mtl.data.sources import alloy, lsms
from ensemble_mtl.data.sources.base import SourceOptions

MINIMAL = """\
name: small
data: {name: alloy, num_configurations: 40}
tasks:
  H: {target: mixing_enthalpy}
  M: {target: magnetic_moment}
"""
ADDED = 6
"""The line on which text added to ``MINIMAL`` begins."""
LSMS = MINIMAL.replace("{name: alloy, num_configurations: 40}", "{name: lsms, path: raw}")


def load(folder: Path, text: str, *overrides: str) -> StudyConfig:
    path = folder / "study.yaml"
    path.write_text(text)
    return config_file.load(path, overrides)


def faults(folder: Path, text: str, *overrides: str) -> list[str]:
    """The lines of the message, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, *overrides)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


ANY = "a list of lists such as [[H], [H, M]]"
LAST = "expected 'end', or an epoch of 0 to train.epochs, which is 200"


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("model: {trunk: {conv: {scalers: []}}}", "model.trunk.conv.scalers: expected a length of at least 1, got []"),
        (
            "model: {trunk: {conv: {scalers: [linear, linear]}}}",
            "model.trunk.conv.scalers: expected each entry once, got ['linear', 'linear']",
        ),
        ("graph: {radius: .inf}", "graph.radius: expected a finite number, got inf"),
        ("train: {optimizer: {lr: .inf}}", "train.optimizer.lr: expected a finite number, got inf"),
        (
            "train: {optimizer: {weight_decay: 1e400}}",
            "train.optimizer.weight_decay: expected a finite number, got inf",
        ),
        ("model: {trunk: {conv: {name: gin, eps: .nan}}}", "model.trunk.conv.eps: expected a finite number, got nan"),
        (
            "train: {optimizer: {betas: [1, 0.9]}}",
            "train.optimizer.betas.0: expected a number less than 1, got 1",
        ),
        (
            "train: {optimizer: {name: adamw, betas: [0.9, -0.1]}}",
            "train.optimizer.betas.1: expected a number greater than or equal to 0, got -0.1",
        ),
        ("subsets: []", f"subsets: expected 'all', or {ANY}, got []"),
        ("subsets: [H, HM]", f"subsets: expected 'all', or {ANY}, got ['H', 'HM']"),
        ("subsets: HM", f"subsets: expected 'all', or {ANY}, got 'HM'"),
        ("subsets: [[H, 1]]", "subsets.0.1: expected text, got 1"),
        ("split_seeds: []", "split_seeds: expected a length of at least 1, got []"),
        ("split_seeds: [0, 0]", "split_seeds: expected each entry once, got [0, 0]"),
        ("split_seeds: [-1]", "split_seeds.0: expected a number greater than or equal to 0, got -1"),
        ("split_seeds: [true]", "split_seeds.0: expected an integer, got True"),
        ("seeds: true", "seeds: expected an integer, got True"),
        ("seeds: [-1]", "seeds.0: expected a number greater than or equal to 0, got -1"),
        ("seeds: many", "seeds: expected an integer or a list, got 'many'"),
        ("train: {epochs: yes}", "train.epochs: expected an integer, got True"),
        ("train: {batch_size: true}", "train.batch_size: expected an integer, got True"),
        ("train: {epochs: '3'}", "train.epochs: expected an integer, got '3'"),
        ("train: {epochs: 3.0}", "train.epochs: expected an integer, got 3.0"),
        ("train: {optimizer: {lr: yes}}", "train.optimizer.lr: expected a number, got True"),
        ("model: {heads: [4, true]}", "model.heads.1: expected an integer, got True"),
        ("model: {trunk: {conv: {name: gatv2, heads: true}}}", "model.trunk.conv.heads: expected an integer, got True"),
        ("launch: {launcher: {workers: true}}", "launch.launcher.workers: expected an integer, got True"),
        ("launch: {launcher: {workers: a}}", "launch.launcher.workers: expected an integer or 'auto', got 'a'"),
        (
            "launch: {launcher: {workers: -1}}",
            "launch.launcher.workers: expected a number greater than 0 or 'auto', got -1",
        ),
        ("probes: {epochs: [-1]}", f"probes.epochs.0: {LAST}, got -1"),
        ("probes: {epochs: [0, 5000]}", f"probes.epochs.1: {LAST}, got 5000"),
        (
            "probes: {epochs: []}",
            "probes.epochs: expected at least one epoch, or `probes: null` for a study without probes, got []",
        ),
        ("probes: {epochs: [end, end]}", "probes.epochs: expected each entry once, got ['end', 'end']"),
        ("probes: {epochs: [ende]}", "probes.epochs.0: expected an integer or 'end', got 'ende'"),
        (
            "graph: {node_features: one_hot, elements: [Pt, Pt, Fe]}",
            "graph.elements: expected each entry once, got ['Pt', 'Pt', 'Fe']",
        ),
        ("train: {early_stopping: 3}", "train.early_stopping: expected a mapping, got 3"),
        ("a: &a [*a]", "'a.0' contains itself by an anchor and an alias; write it out"),
        ("a: &a {b: {c: *a}}", "'a.b.c' contains itself by an anchor and an alias; write it out"),
    ],
)
def test_one_fault_is_one_readable_line(tmp_path: Path, added: str, message: str) -> None:
    assert faults(tmp_path, f"{MINIMAL}{added}\n") == [f"study.yaml:{ADDED}: {message}"]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("[[1, 2, 3], [1, 2, a], [1, 2, 3]]", "data.cell.1.2: expected a number, got 'a'"),
        ("[1, 2, .inf]", "data.cell.2: expected a finite number, got inf"),
        ("[1, true, 2]", "data.cell.1: expected a number, got True"),
        ("wide", "data.cell: expected a list, got 'wide'"),
    ],
)
def test_of_nested_choices_only_the_meant_one_is_reported(tmp_path: Path, cell: str, message: str) -> None:
    assert faults(tmp_path, LSMS.replace("path: raw", f"path: raw, cell: {cell}")) == [f"study.yaml:2: {message}"]


@pytest.mark.parametrize("value", ["&a [*a]", "&a {b: *a}"])
def test_an_override_cannot_contain_itself(tmp_path: Path, value: str) -> None:
    (message,) = faults(tmp_path, MINIMAL, f"seeds={value}")
    assert message.startswith(f"--set seeds={value}: 'seeds.")
    assert "contains itself" in message


def test_an_alias_that_is_no_cycle_is_read(tmp_path: Path) -> None:
    config = load(tmp_path, f"{MINIMAL}seeds: &some [3, 4]\nsplit_seeds: *some\n")
    assert config.seeds == config.split_seeds == (3, 4)


@pytest.mark.parametrize("value", ["[" * 3000, "2024-02-31", "9" * 5000])
def test_what_yaml_cannot_read_is_refused_without_a_traceback(tmp_path: Path, value: str) -> None:
    assert faults(tmp_path, f"{MINIMAL}description: {value}\n")[0].startswith("study.yaml")
    assert faults(tmp_path, MINIMAL, f"description={value}")[0].startswith("--set description=")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs=abc", "train.epochs: expected an integer, got 'abc'"),
        ("train={epochs: 0}", "train.epochs: expected a number greater than 0, got 0"),
        ("train.optimizer=adm", "train.optimizer: got 'adm', expected one of adam, adamw; did you mean 'adam'?"),
        ("train.optimizer.lr=.inf", "train.optimizer.lr: expected a finite number, got inf"),
        ("probes.epochs=[9]", "probes.epochs.0: expected 'end', or an epoch of 0 to train.epochs, which is 5, got 9"),
        ("train={epochs: 3, epochs: 4}", "'train.epochs' stands twice, first on line 1; keep one"),
    ],
)
def test_faults_of_overrides_cite_the_override(tmp_path: Path, override: str, message: str) -> None:
    text = f"{MINIMAL}train:\n  epochs: 5\n  optimizer: {{name: adam, lr: 0.1}}\n"
    assert faults(tmp_path, text, override) == [f"--set {override}: {message}"]


def test_unknown_sections_of_overrides_and_faults_of_the_file_beside_them(tmp_path: Path) -> None:
    text = f"{MINIMAL}train:\n  epochs: none\n"
    first, second = sorted(faults(tmp_path, text, "trian.epochs=3", "train.batch_size=8"))
    assert first.startswith("--set trian.epochs=3: trian: unknown key (did you mean 'train'?)")
    assert second == f"study.yaml:{ADDED + 1}: train.epochs: expected an integer, got 'none'"


@pytest.mark.parametrize(
    ("text", "key", "hint", "known"),
    [
        (MINIMAL + "model: {trunk: {conv: {name: pna, heads: 2}}}\n", "model.trunk.conv.heads", "", "name, scalers"),
        (
            MINIMAL + "train: {optimizer: {wieght_decay: 1}}\n",
            "train.optimizer.wieght_decay",
            " (did you mean 'weight_decay'?)",
            "name, lr, weight_decay, betas, eps",
        ),
        (
            MINIMAL + "train: {optimizer: {rate: 1}}\n",
            "train.optimizer.rate",
            "",
            "name, lr, weight_decay, betas, eps",
        ),
        (MINIMAL + "train: {early_stopping: {patince: 1}}\n", "train.early_stopping.patince", " (did", "patience"),
        (MINIMAL.replace("M: {", "M: {wight: 2, "), "tasks.M.wight", " (did you mean 'weight'?)", "target, label,"),
        (LSMS.replace("raw", "raw, pth: x"), "data.pth", " (did you mean 'path'?)", "name, path, on_error"),
        (MINIMAL.replace("40", "40, hamiltonian: {onsit: 1}"), "data.hamiltonian.onsit", " (did", "electronegativity"),
    ],
)
def test_unknown_keys_are_met_with_the_known_ones(tmp_path: Path, text: str, key: str, hint: str, known: str) -> None:
    (message,) = faults(tmp_path, text)
    assert f": {key}: unknown key{hint}" in message
    assert f"expected one of {known}" in message


@pytest.mark.parametrize("text", [MINIMAL, LSMS], ids=["alloy", "lsms"])
def test_unknown_targets_are_refused_with_their_line(tmp_path: Path, text: str) -> None:
    known = ", ".join(info.name for info in lsms.TARGETS)
    message = f"tasks.H.target: got 'mixing_entalpy', expected one of {known}; did you mean 'mixing_enthalpy'?"
    assert faults(tmp_path, text.replace("mixing_enthalpy", "mixing_entalpy")) == [f"study.yaml:4: {message}"]
    override = "tasks.H.target=mixing_entalpy"
    assert faults(tmp_path, text, override) == [f"--set {override}: {message}"]


def test_targets_of_a_source_that_declares_none_are_checked_with_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alloy.Options, "declared", SourceOptions.declared)
    config = load(tmp_path, MINIMAL, "tasks.H.target=enthalpy")
    data = SimpleNamespace(targets={"mixing_enthalpy": None, "magnetic_moment": None})
    with pytest.raises(DataError, match=r"tasks\.H\.target: got 'enthalpy'.*mixing_enthalpy"):
        prepare.check_targets(config, data)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "bad"),
    [
        (["A", "B", "AB"], ["AB"]),
        (["A", "B", "BA"], ["BA"]),
        (["A", "B", "ab"], ["ab"]),
        (["gap", "Gap"], ["gap", "Gap"]),
        (["A", "B", "ABC"], []),
        (["A", "B", "A1"], []),
        (["gap", "energy"], []),
    ],
)
def test_task_names_that_name_the_same_folder_are_refused(tmp_path: Path, names: list[str], bad: list[str]) -> None:
    targets = [info.name for info in lsms.TARGETS]
    tasks = {name: {"target": target} for name, target in zip(names, targets, strict=False)}
    text = yaml.safe_dump({"name": "s", "data": "alloy", "tasks": tasks}, sort_keys=False)
    if not bad:
        assert list(load(tmp_path, text).tasks) == names
        return
    found = faults(tmp_path, text)
    assert [message.split(": ")[1] for message in found] == [f"tasks.{name}" for name in bad]
    assert all("rename one" in message for message in found)


def test_unfit_subsets_targets_and_probes_are_all_listed(tmp_path: Path) -> None:
    text = (
        MINIMAL.replace("magnetic_moment", "moment") + "subsets: [[H, X]]\nprobes: {epochs: [7]}\ntrain: {epochs: 5}\n"
    )
    lines = [message.split(": ")[:2] for message in faults(tmp_path, text)]
    assert lines == [
        ["study.yaml:6", "subsets.0.1"],
        ["study.yaml:5", "tasks.M.target"],
        ["study.yaml:7", "probes.epochs.0"],
    ]


@pytest.mark.parametrize(
    "added",
    ["seeds: [0, 3]", "split_seeds: [0, 1]", "subsets: [[H]]", "probes: {epochs: [0, 200, end]}", "probes: null"],
)
def test_what_is_right_stays_right(tmp_path: Path, added: str) -> None:
    load(tmp_path, f"{MINIMAL}{added}\n")


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), (".5e-2", 5e-3), ("1", 1.0), ("2.e-3", 2e-3)])
def test_numbers_may_be_written_in_any_way(tmp_path: Path, text: str, value: float) -> None:
    assert load(tmp_path, MINIMAL, f"train.optimizer.lr={text}").train.optimizer.lr == value


def test_a_fault_in_python_is_readable_too() -> None:
    config = {"name": "s", "data": {"name": "alloy", "seeed": 1}, "tasks": {"H": {"target": "mixing_enthalpy"}}}
    with pytest.raises(ValidationError, match="seeed: Extra inputs"):
        StudyConfig.model_validate(config)


@pytest.mark.parametrize(
    "package", ["data.sources", "data.split", "models.conv", "train.optimizer", "train.schedule", "launch"]
)
def test_no_option_takes_infinity(package: str) -> None:
    for name in registry.names(package):
        options = registry.family(package).load(name).Options
        assert issubclass(options, BaseModel)
        assert options.model_config["allow_inf_nan"] is False


def test_an_unknown_figure_is_named_beside_the_known_ones(tmp_path: Path) -> None:
    (line,) = faults(tmp_path, MINIMAL + "report: {figures: [spectrum]}\n")
    assert line.startswith(
        f"study.yaml:{ADDED}: report.figures: got 'spectrum', expected one of appendix_e, composition, "
    )
    assert line.endswith("did you mean 'spectra'?")
    assert load(tmp_path, MINIMAL + "report: {figures: [parity]}\n").report.shown() == ["parity"]
    assert load(tmp_path, MINIMAL + "report: {figures: none}\n").report.shown() == []
