"""Every plug-in offers what its family asks for; whatever does not is refused with its file and what it lacks.

Families and their plug-ins are found by themselves, so a new one is held to this without being named here.
Their types are compared in ``tests/integration/test_plugin_types.py``, since mypy takes long.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from helpers.plugins import FAMILIES, SOURCE
from pydantic import BaseModel

from ensemble_mtl.config import file as config_file
from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import PluginError

PLUGINS = [pytest.param(family, name, id=f"{family.package}-{name}") for family in FAMILIES for name in family.names()]


def test_every_family_is_there() -> None:
    found = {family.package for family in FAMILIES}
    of_configuration = {"data.sources", "data.split", "models.trunk", "models.conv", "launch", "cluster"}
    of_training = {"train.optimizer", "train.schedule", "train.weighting", "curvature.trace", "curvature.density"}
    assert found == of_configuration | of_training | {"report.figures", "reproduce"}


@pytest.mark.parametrize(("family", "name"), PLUGINS)
def test_every_plug_in_offers_what_its_family_asks_for(family: registry.Family[Any], name: str) -> None:
    plugin = family.load(name)
    for key, function in registry.functions(family.protocol).items():
        assert [p.name for p in registry.parameters(getattr(plugin, key))] == [
            p.name for p in registry.parameters(function)[1:]
        ]
    for key in get_type_hints(family.protocol):
        assert key in vars(plugin)
    if "Options" in get_type_hints(family.protocol):
        assert plugin.Options.model_fields["name"].default == name
        assert plugin.Options.model_config["extra"] == "forbid"
        assert plugin.Options.model_config["allow_inf_nan"] is False
        assert issubclass(plugin.Options, BaseModel)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.package)
def test_defaults_are_of_the_form_that_is_asked_for(family: registry.Family[Any]) -> None:
    stated = {**registry.functions(family.protocol), **get_type_hints(family.protocol)}
    for key, default in family.defaults.items():
        assert key in stated
        if inspect.isfunction(default):
            assert registry.parameters(default) == registry.parameters(stated[key])[1:]


PLUGIN = """\
from typing import Literal
from ensemble_mtl.config import registry

class Options(registry.Options):
    name: Literal["mine"] = "mine"
"""
SCHEDULE = (
    PLUGIN
    + """
def start(options, num_members):
    return {}

def step(options, state, epoch, epochs, val_loss):
    pass
"""
)
STUDY = """\
name: small
data: {name: alloy, num_configurations: 40}
tasks: {H: {target: mixing_enthalpy}}
train: {schedule: mine}
"""


@pytest.fixture
def dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that puts the file ``mine.py`` into a family's folder, and gives the family."""

    def drop(package: str, text: str) -> registry.Family[Any]:
        folder = tmp_path / package
        folder.mkdir()
        (folder / "mine.py").write_text(text)
        module = importlib.import_module(f"{registry.ROOT}.{package}")
        monkeypatch.setattr(module, "__path__", [*module.__path__, str(folder)])
        monkeypatch.delitem(sys.modules, f"{registry.ROOT}.{package}.mine", raising=False)
        monkeypatch.delattr(module, "mine", raising=False)
        family = registry.family(package)
        monkeypatch.setattr(family, "_loaded", {})
        return family

    yield drop
    for name in [name for name in sys.modules if name.endswith(".mine")]:
        del sys.modules[name]


def test_one_file_makes_a_plug_in(dropped: Any, tmp_path: Path) -> None:
    family = dropped("train.schedule", SCHEDULE)
    assert "mine" in family.names()
    (tmp_path / "study.yaml").write_text(STUDY)
    schedule = config_file.load(tmp_path / "study.yaml").train.schedule
    assert family.of(schedule).start(schedule, 3) == {}
    assert family.of(schedule).ANNEALS is False  # left out, so it is the family's default


def test_what_a_plug_in_defines_beats_the_default(dropped: Any) -> None:
    assert dropped("train.schedule", SCHEDULE + "ANNEALS = True\n").load("mine").ANNEALS is True


@pytest.mark.parametrize(
    ("package", "text", "words"),
    [
        ("train.schedule", PLUGIN, ["lacks the function start(options, num_members); lacks the function step("]),
        (
            "train.schedule",
            SCHEDULE.replace("num_members", "members"),
            ["start takes (options, members), expected (options, num_members)"],
        ),
        ("train.schedule", SCHEDULE + "step = 3\n", ["step is 3, expected a function step(options, state, epoch,"]),
        ("train.schedule", SCHEDULE + "ANNEALS = 'yes'\n", ["ANNEALS is 'yes', expected bool"]),
        (
            "train.schedule",
            SCHEDULE.replace('"mine"', '"yours"'),
            ["Options.name is 'yours' by default, expected 'mine', which its file is called"],
        ),
        ("train.schedule", "from typing import Nothing\n", ["cannot be imported (ImportError: cannot import name"]),
        (
            "train.schedule",
            "import math\n\nSTEPS = 1 // 0\n",
            ["mine.py: line 3: cannot be imported (ZeroDivisionError: integer division or modulo by zero); correct"],
        ),
        ("train.schedule", "raise ValueError('two\\nlines')\n", ["line 1: cannot be imported (ValueError: two); cor"]),
        ("train.schedule", "assert False\n", ["line 1: cannot be imported (AssertionError); correct the file"]),
        ("train.schedule", "def start(:\n", ["cannot be imported (SyntaxError: invalid syntax"]),
        ("train.weighting", PLUGIN + "def step(config): pass\n", ["step takes (config), expected (config, state, los"]),
        (
            "train.optimizer",
            PLUGIN,
            ["expected a class derived from ensemble_mtl.train.optimizer.base.OptimizerOptions", "lacks the function"],
        ),
        ("models.trunk", "ACTIVATION = 'relu6'\n", ["ACTIVATION is 'relu6', expected Literal['relu', 'tanh']"]),
        ("report.figures", "TITLE = 'Mine'\n", ["lacks the function caption(inputs)", "lacks ORDER, expected int"]),
    ],
)
def test_what_a_plug_in_lacks_is_one_message(
    dropped: Any, tmp_path: Path, package: str, text: str, words: list[str]
) -> None:
    with pytest.raises(PluginError) as caught:
        dropped(package, text).load("mine")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / package / 'mine.py'}: ")
    assert "\n" not in message
    for part in words:
        assert part in message
    if "cannot be imported" not in message:
        assert message.endswith(f"{SOURCE / package.replace('.', '/') / 'base.py'} says what it needs")


def test_a_configuration_that_names_it_gives_the_same_message(dropped: Any, tmp_path: Path) -> None:
    dropped("train.schedule", PLUGIN)
    (tmp_path / "study.yaml").write_text(STUDY)
    with pytest.raises(PluginError, match=r"mine\.py: not a plug-in of train\.schedule: lacks the function start"):
        config_file.load(tmp_path / "study.yaml")
    assert PluginError.exit_code == 2


def test_nothing_is_probed() -> None:
    """Neither ``hasattr`` nor ``getattr`` with a default decides what is done, but for what is not of this project."""
    foreign = {
        "core/runtime/this_process.py", "launch/ray/shard_tasks.py", "launch/ray/environment.py", "cli/common.py"
    }  # fmt: skip
    probes = {
        str(path.relative_to(SOURCE)): ast.unparse(node)
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and (node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) == 3))
    }
    assert {place: probe for place, probe in probes.items() if place not in foreign} == {}
