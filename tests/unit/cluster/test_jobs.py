"""Ready job scripts: short, clean shell, and calling the command line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from helpers.system import skip_without

ROOT = Path(__file__).parents[3]
SCRIPTS = sorted((ROOT / "jobs").iterdir())


def shell_scripts() -> list[Path]:
    """Every file of jobs/ and hpc/ that begins as a shell script."""
    files = [path for folder in ("jobs", "hpc") for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    return [path for path in files if path.read_bytes()[:64].split(b"\n")[0].endswith((b"bash", b"/sh"))]


def test_the_promised_scripts_are_there() -> None:
    promised = ["slurm-mpi.sbatch", "slurm-ray.sbatch", "slurm-array.sbatch", "lsf-mpi.lsf", "lsf-array.lsf"]
    assert {*promised, "ray-submit.sh", "one-node.sh"} <= {path.name for path in SCRIPTS}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_is_short_and_calls_the_command_line(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 30
    commands = [line for line in text.splitlines() if not line.startswith("#")]
    assert any("ensemble-mtl run" in line or "ensemble_mtl run" in line for line in commands)
    assert text.splitlines()[1].startswith("# "), "says what it is for"


@pytest.mark.parametrize("path", shell_scripts(), ids=lambda path: path.name)
def test_script_is_clean_shell(path: Path) -> None:
    subprocess.run(["bash", "-n", path], check=True)
    skip_without("shellcheck")
    subprocess.run(["shellcheck", "--shell=bash", path], check=True)


def test_ray_submit_hands_its_words_to_the_command_line(tmp_path: Path) -> None:
    stub = tmp_path / "ray"
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stub.chmod(0o700)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "RAY_API_SERVER_ADDRESS": "http://head:8265"}
    words = [ROOT / "jobs/ray-submit.sh", "my study.yaml", "--out", "/shared/$(x)"]
    process = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path)
    printed = process.stdout.splitlines()
    assert printed[:2] == ["job", "submit"]
    command = ["ensemble-mtl", "run", str(tmp_path / "my study.yaml"), "--out", "/shared/$(x)", "--launcher", "ray"]
    assert printed[printed.index("--") + 1 :] == command
    elsewhere = [ROOT / "jobs/ray-submit.sh", "/not/mounted/here/study.yaml"]
    process = subprocess.run(elsewhere, env=environment, capture_output=True, text=True, check=True)
    assert "/not/mounted/here/study.yaml" in process.stdout.splitlines()
    del environment["RAY_API_SERVER_ADDRESS"]
    assert subprocess.run(words, env=environment, capture_output=True).returncode != 0
