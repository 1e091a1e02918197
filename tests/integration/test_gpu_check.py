"""The check of a GPU runs whole where there is none: on the CPU, and on an emulated device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.system import needs

from ensemble_mtl.config import registry
from ensemble_mtl.core.runtime.processes import process_started, wait_for_end

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks/gpu/run.sh"
PARTS = ("versions", "correctness", "speed", "step_profile", "probes", "table_1", "sharing")
PATIENCE = 30
"""Minutes, of which a quiet machine needs two; limits grow with them."""
NETWORKS = [*registry.names("models.conv"), "graph_network"]
NOT_MEASURED = "not measured: emulated"

HANGING = """
import pathlib, subprocess, sys, time
own = subprocess.Popen(["sleep", "600"])
pathlib.Path(sys.argv[1]).write_text(str(own.pid))
time.sleep(600)
"""
LIMITED = """
import json, pathlib, sys
from benchmarks.gpu.runner import limited
command = [sys.executable, "-c", sys.argv[1], sys.argv[2]]
print(json.dumps(limited(command, float(sys.argv[3]), pathlib.Path(sys.argv[2] + ".log"))))
"""
JUDGED = """
import json
from benchmarks.gpu.__main__ import passed
from benchmarks.gpu.correctness import judged
rows = [judged(lambda value=value: {"deviations": {"gradient": value}}) for value in (1e-3, float("nan"), 1e-12)]
tries = ({"recordings": 0, "refused": []}, {"recordings": 2, "refused": ["why"]}, {"recordings": 3, "refused": []})
rows += [judged(lambda told=told: {"deviations": {"gradient": 0.0}, "asked": True, **told}) for told in tries]
runs = [{"correctness": {"status": "done", "measured": row}} for row in rows]
print(json.dumps([passed(run) for run in runs]))
"""
PAGE = """
import json, sys
from benchmarks.gpu.table import page
print(page(json.load(sys.stdin)))
"""


@dataclass
class Check:
    """What one run of the command gave."""

    code: int
    printed: str
    folder: Path

    @property
    def content(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "gpu.json").read_text())
        return found

    def measured(self, part: str) -> dict[str, Any]:
        found: dict[str, Any] = self.content["parts"][part]["measured"]
        return found


def python(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


def check(folder: Path, *arguments: str) -> Check:
    done = python("-m", "benchmarks.gpu", f"--out={folder}", *arguments)
    assert (folder / "gpu.json").exists(), done.stderr
    return Check(done.returncode, done.stdout, folder)


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> Check:
    return check(tmp_path_factory.mktemp("cpu"), "--device=cpu", f"--minutes={PATIENCE}")


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Check:
    return check(tmp_path_factory.mktemp("emulated"), "--device=emulated", f"--minutes={PATIENCE}")


@pytest.fixture(params=["on_cpu", "emulated"])
def either(request: pytest.FixtureRequest) -> Check:
    found: Check = request.getfixturevalue(request.param)
    return found


def test_every_part_comes_to_its_end(either: Check) -> None:
    log = (either.folder / "gpu.log").read_text()[-3000:]
    states = {name: part["status"] for name, part in either.content["parts"].items()}
    assert states == dict.fromkeys(PARTS, "done"), log
    assert either.measured("correctness")["passed"], either.measured("correctness")
    assert either.code == 0, log


def test_the_folder_holds_the_numbers_the_page_and_the_log_alone(either: Check) -> None:
    assert sorted(path.name for path in either.folder.iterdir()) == ["gpu.json", "gpu.log", "gpu.md"]


def test_every_network_is_compared_on_both_kinds_of_graphs(either: Check) -> None:
    derivatives = either.measured("correctness")["derivatives"]
    assert {f"{kind}, {name}" for kind in ("lattice", "molecules") for name in NETWORKS} <= set(derivatives)
    assert all({"gradient", "matrix-vector products", "quadratic forms"} <= set(case["deviations"])
               for case in derivatives.values())  # fmt: skip


def test_members_are_checkpointed_at_the_end_and_resumed(either: Check) -> None:
    table_1 = either.measured("table_1")
    assert table_1["checkpoints"] == table_1["members"] == 14
    assert table_1["resumed"] == {"from": 2, "to": 3}
    assert [epoch["members"] for epoch in table_1["epochs"]] == [14, 14, 14]
    assert table_1["projection"]["minutes_for_all_epochs"] > 0


def test_the_page_names_the_device_and_the_stand_ins(either: Check) -> None:
    page = (either.folder / "gpu.md").read_text()
    assert either.printed.strip() == page.strip()
    assert "No GPU was used" in page
    assert "synthetic alloy, a stand-in for FePt" in page
    assert "small molecules, a stand-in for QM8" in page
    assert "Incomplete" not in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert all(row.endswith("|") for row in rows)


def test_a_cpu_measures_its_ceilings_its_speed_and_workers_that_share_it(on_cpu: Check) -> None:
    assert on_cpu.measured("versions")["ceilings"]["product_flops"]["float32"] > 1e8
    speed = on_cpu.measured("speed")
    assert set(speed["fept"]["stacks"]) == {"1", "4"}
    assert all(modes["eager"]["graphs_per_second"] > 0 for modes in speed["fept"]["stacks"].values())
    assert speed["fept"]["peer"]["graphs_per_second"] > 0
    assert (speed["fept"]["peer_name"], speed["qm8"]["peer_name"]) == ("plain PyG", "plain torch")
    assert on_cpu.measured("step_profile")["fept"]["stacks"]["2"]["eager"]["operations"] > 100
    assert on_cpu.measured("sharing")["several workers"]["stacks"] == [2, 2]


def test_an_emulated_device_records_and_says_what_it_cannot_tell(emulated: Check) -> None:
    assert emulated.measured("versions")["ceilings"] == NOT_MEASURED
    assert emulated.measured("step_profile")["profile"] == NOT_MEASURED
    assert emulated.measured("sharing")["workers"] == NOT_MEASURED
    trained = emulated.measured("correctness")["epochs"]
    recordings = {name: case["recordings"] for name, case in trained.items()}
    assert recordings == {name: 3 if name.startswith("lattice") else 0 for name in trained}
    assert "recorded against eager" in trained["lattice, pna"]["deviations"]
    assert emulated.measured("speed")["fept"]["stacks"]["4"]["recorded"]["graphs_per_second"] > 0
    assert "not measured" in emulated.measured("speed")["qm8"]["stacks"]["4"]["recorded"]
    assert len(emulated.measured("table_1")["recording_seconds"]) == 2


def test_a_part_that_fails_does_not_stop_the_next(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    found = check(tmp_path / "out", "--device=cpu", f"--data={tmp_path / 'data'}", "--parts=1,2,0")
    states = {name: part["status"] for name, part in found.content["parts"].items()}
    assert states == {"versions": "done", "correctness": "failed", "speed": "failed"}
    assert "not a folder of" in found.content["parts"]["speed"]["reason"]
    assert "not a folder of" in found.printed
    assert found.code == 1


def test_a_part_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    number = tmp_path / "pid"
    done = python("-c", LIMITED, HANGING, str(number), "5")
    result = json.loads(done.stdout)
    assert result["status"] == "timed out"
    assert result["reason"] == "took longer than 5 s"
    assert result["seconds"] < 60
    pid = int(number.read_text())
    wait_for_end({pid: process_started(pid)}, 10)
    assert process_started(pid) is None


def test_what_was_measured_before_a_part_was_killed_is_shown(on_cpu: Check) -> None:
    content = on_cpu.content
    speed = content["parts"]["speed"]
    speed |= {"status": "timed out", "reason": "took longer than 90 s"}
    del speed["measured"]["qm8"]["stacks"]
    del content["parts"]["versions"]["measured"]["packages"]
    del content["parts"]["table_1"]["measured"]["projection"]
    content["parts"]["sharing"]["measured"] = {}
    page = python("-c", PAGE, given=json.dumps(content)).stdout
    assert "timed out | " in page
    assert page.count("Incomplete") == 1
    assert "It ended early" in page
    assert "## 4 Probes" in page
    assert "## 6" not in page


def test_a_device_that_computes_something_else_does_not_pass() -> None:
    done = python("-c", JUDGED)
    assert json.loads(done.stdout) == [False, False, True, False, False, True], done.stderr


def test_numbas_stand_in_leaves_functions_as_they_are() -> None:
    code = "import numba; print(numba.STAND_IN, numba.njit(cache=True)(abs)(-1), numba.njit(abs)(-2))\n"
    code += "from ensemble_mtl.models import kernels; kernels.load()"  # as workers do when they start
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "benchmarks/gpu/stand_in")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "1", "2"]


@needs("shellcheck")
def test_the_command_of_the_machine_is_a_sound_script() -> None:
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_command_of_the_machine_uses_what_was_packed(tmp_path: Path) -> None:
    made = tmp_path / "made"
    done = python("-m", "benchmarks.gpu.data", str(made))
    assert done.returncode == 0, done.stderr
    packed = tmp_path / "packed"
    (packed / "wheels").mkdir(parents=True)
    (packed / "wheels/broken-1.0-py3-none-any.whl").write_bytes(b"no wheel")
    with tarfile.open(packed / "data.tar.xz", "w:xz") as archive:
        for case in ("fept", "qm8"):
            archive.add(made / case, case)
    environment = {**os.environ, "PACKED": str(packed), "PYTHON": sys.executable, "OUT": str(tmp_path / "out")}
    command = [str(SCRIPT), "--device=cpu", "--parts=0,2", f"--minutes={PATIENCE}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the wheels were not installed" in done.stdout
    content = json.loads((tmp_path / "out/gpu.json").read_text())
    assert content["data_carried"]
    assert {name: part["status"] for name, part in content["parts"].items()} == {"versions": "done", "speed": "done"}
    assert content["parts"]["speed"]["measured"]["fept"]["data"] == "synthetic alloy, a stand-in for FePt"
