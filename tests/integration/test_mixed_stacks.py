"""Members of all subsets in one stack have the numbers that they have among their own."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import studies

MIXED = ("--set", "launch.mix_subsets=true", "--set", "launch.launcher.workers=1")
TIMES = {"train_seconds", "stack_seconds", "stack_size", "stack_id", "stack_tasks"}


def found(study: Path) -> dict[str, dict[str, Any]]:
    """What each member has, apart from times."""
    members = {}
    for path in study.glob("members/*/*/result.json"):
        content = {key: value for key, value in json.loads(path.read_text()).items() if key not in TIMES}
        for probe in content.get("probes", []):
            del probe["seconds"], probe["trace_seconds"]
        state = torch.load(path.with_name("checkpoint.pt"), weights_only=True)["tensors"]
        content["parameters"] = [state[name].numpy().tobytes() for name in ("parameters", "best.parameters")]
        members[path.parent.name] = content
    return members


def sizes(study: Path) -> set[int]:
    return {json.loads(path.read_text())["stack_size"] for path in study.glob("members/*/*/result.json")}


@pytest.mark.parametrize("conv", ["pna", "gin"])
def test_members_do_not_depend_on_the_subsets_beside_them(tmp_path, conv):
    config = studies.write(tmp_path, studies.TINY.replace("conv: gin", f"conv: {conv}"))
    apart, mixed = tmp_path / "apart", tmp_path / "mixed"
    assert studies.call("run", config, "--out", apart, "--no-report").returncode == 0
    assert studies.call("run", config, "--out", mixed, "--no-report", *MIXED).returncode == 0
    assert sizes(apart) == {2}
    assert sizes(mixed) == {6}  # two each of HM, H and M
    assert found(mixed) == found(apart)


def test_a_mixed_stack_goes_on_apart(tmp_path):
    config = studies.write(tmp_path, studies.LONG)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert studies.call("run", config, "--out", whole, "--no-report").returncode == 0
    process = studies.start("run", config, "--out", broken, "--no-report", *MIXED)
    studies.wait_until(lambda: bool(list(broken.glob("members/*/*/checkpoint.pt"))))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert not sizes(broken)
    assert studies.call("run", config, "--out", broken, "--no-report").returncode == 0
    assert found(broken) == found(whole)
