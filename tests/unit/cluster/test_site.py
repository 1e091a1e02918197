"""Site profiles: those that come along are right, and mistakes are named with their line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ensemble_mtl.cluster import site
from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import ConfigError

SITES = Path(__file__).parents[3] / "hpc/sites"
PROFILES = sorted(SITES.glob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "here.yaml"
    path.write_text(text)
    return path


def fault(folder: Path, text: str, **overrides: Any) -> str:
    """The message that the file brings about."""
    options = {key: (f"--{key}", value) for key, value in overrides.items()}
    with pytest.raises(ConfigError) as error:
        site.load(write(folder, f"name: here\nscheduler: slurm\n{text}"), options)
    return str(error.value)


def test_the_promised_profiles_are_there() -> None:
    names = {path.stem for path in PROFILES}
    assert names >= {"perlmutter", "frontier", "summit", "slurm", "lsf", "laptop"}


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_profile_is_valid_and_bears_its_files_name(path: Path) -> None:
    profile = site.load(path, {})
    assert profile.name == path.stem
    assert profile.account is None, "the account is the user's"


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_profile_obeys_the_committed_schema(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), json.loads((SITES / "schema.json").read_text()))


def test_committed_schema_is_current() -> None:
    text = json.dumps(site.schema(), indent=1) + "\n"
    assert (SITES / "schema.json").read_text() == text, "write json.dumps(site.schema(), indent=1) there"


@pytest.mark.parametrize(
    "change",
    [{"nodes": 0}, {"time": "1h"}, {"queue": "a b"}, {"node": 1}, {"scheduler": "pbs"}, {"scheduler": {"qos": "x"}}],
    ids=str,
)
def test_schema_refuses_what_the_model_refuses(change: dict[str, Any]) -> None:
    content = {"name": "here", "scheduler": "slurm", **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, site.schema())


def test_known_machines_have_their_published_sizes() -> None:
    def sizes(name: str) -> tuple[int, int]:
        profile = site.load(SITES / f"{name}.yaml", {})
        return profile.cpus_per_node, profile.gpus_per_node

    assert sizes("perlmutter") == (64, 4)
    assert sizes("frontier") == (56, 8)
    assert sizes("summit") == (42, 6)


def test_every_scheduler_has_defaults_of_its_own() -> None:
    for name in registry.names("cluster"):
        assert site.load(None, {}, name).scheduler.name == name


def test_workers_are_shards_per_gpu_or_else_cores() -> None:
    assert site.load(None, {"cpus_per_node": ("", 6)}, "slurm").workers_per_node == 6
    overrides = {"cpus_per_node": ("", 6), "gpus_per_node": ("", 2), "workers_per_gpu": ("", 3)}
    assert site.load(None, overrides, "slurm").workers_per_node == 6


def test_unknown_key_is_named_with_its_line_and_the_nearest(tmp_path: Path) -> None:
    message = fault(tmp_path, "cpu_per_node: 4\n")
    assert "here.yaml:3: cpu_per_node: unknown key (did you mean 'cpus_per_node'?)" in message


def test_directive_that_is_not_allowed_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "name: here\nscheduler:\n  name: slurm\n  constrain: gpu\n  wrap: rm\n")
    with pytest.raises(ConfigError) as error:
        site.load(path, {})
    assert "here.yaml:4: scheduler.constrain: unknown key (did you mean 'constraint'?)" in str(error.value)
    assert "here.yaml:5: scheduler.wrap: unknown key" in str(error.value)


HOSTILE = ["a b", "a\n#SBATCH --wrap=rm", "a\n", '"a"', "$(rm)", "`rm`", "a;b", "a#b", "", "-x y"]


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
@pytest.mark.parametrize("key", ["queue", "account"])
def test_value_that_would_leave_its_directive_is_refused(tmp_path: Path, key: str, value: str) -> None:
    assert f"here.yaml:3: {key}:" in fault(tmp_path, f"{key}: {json.dumps(value)}\n")


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_so_is_a_schedulers_own(tmp_path: Path, value: str) -> None:
    text = f"name: here\nscheduler: {{name: slurm, constraint: {json.dumps(value)}}}\n"
    with pytest.raises(ConfigError, match=r"here.yaml:2: scheduler.constraint:"):
        site.load(write(tmp_path, text), {})


@pytest.mark.parametrize("value", ["90", "1:00", "01:60:00", "1 h", "01:00:00\n"])
def test_time_is_hours_minutes_seconds(tmp_path: Path, value: str) -> None:
    assert "expected HH:MM:SS" in fault(tmp_path, f"time: {json.dumps(value)}\n")


def test_time_that_yaml_makes_a_number_is_explained(tmp_path: Path) -> None:
    assert "here.yaml:3: time: got 43200, expected 'HH:MM:SS' in quotes" in fault(tmp_path, "time: 12:00:00\n")


def test_there_is_time_to_checkpoint(tmp_path: Path) -> None:
    assert "expected more than signal_seconds, which is 120" in fault(tmp_path, "time: '00:02:00'\n")


@pytest.mark.parametrize("word", ["{task}", "{}", "{tasks", "{tasks.real}", "{nodes[0]}"])
def test_launch_command_knows_its_placeholders(tmp_path: Path, word: str) -> None:
    assert "here.yaml:3: mpi.1:" in fault(tmp_path, f"mpi: [srun, {json.dumps(word)}]\n")


def test_option_beats_the_file_and_is_named_if_wrong(tmp_path: Path) -> None:
    path = write(tmp_path, "name: here\nscheduler: slurm\nnodes: 2\n")
    assert site.load(path, {"nodes": ("--nodes", 5)}).nodes == 5
    assert fault(tmp_path, "nodes: 2\n", nodes=0).startswith("--nodes: nodes: expected a number greater than 0")


def test_scheduler_asked_for_must_be_the_sites(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a site of slurm"):
        site.load(write(tmp_path, "name: here\nscheduler: slurm\n"), {}, "lsf")


def test_what_is_no_site_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a mapping with 'name' and 'scheduler', got list"):
        site.load(write(tmp_path, "- a\n"), {})
    with pytest.raises(ConfigError, match=r"cannot be read .*; expected a site's YAML file"):
        site.load(tmp_path / "nowhere.yaml", {})


@pytest.mark.parametrize("word", ["{nodes!z}", "{nodes:>9999999999}", "{nodes:{evil}}", "{nodes!r}"])
def test_placeholder_is_a_bare_name(tmp_path: Path, word: str) -> None:
    assert "expected nothing but a name between braces" in fault(tmp_path, f"mpi: [srun, {json.dumps(word)}]\n")


def test_gathering_takes_some_time(tmp_path: Path) -> None:
    assert "here.yaml:3: gather_time:" in fault(tmp_path, 'gather_time: "00:00:00"\n')


def test_environment_holds_no_nul(tmp_path: Path) -> None:
    assert "environment.X: contains a NUL" in fault(tmp_path, 'environment: {X: "a\\0b"}\n')
