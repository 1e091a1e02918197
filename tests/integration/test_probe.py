"""``probe``: what the study measured itself, measured again from its checkpoints."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.studies import TINY, write

from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.cli.main import main
from ensemble_mtl.config import file as config_file
from ensemble_mtl.data import prepare
from ensemble_mtl.report import tables
from ensemble_mtl.study import results, study_files
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member
from ensemble_mtl.worker.context import Supervisor
from ensemble_mtl.worker.shard import train_shard

STUDY = TINY.replace("epochs: [0, end]", "epochs: [0, 1, 2, end]").replace(
    "device: cpu,", "device: cpu, optimizer: {name: adam, lr: 0.1},"
)
"""Probed after every epoch, and so restless that the best epoch is not always the last."""
CLOCK = ("seconds", "trace_seconds")


@dataclass
class Called:
    code: int
    out: str
    err: str


def probe(*arguments: object) -> Called:
    """``ensemble-mtl probe …`` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["ensemble-mtl", "probe", *map(str, arguments)])
        try:
            main()
            code: Any = 0
        except SystemExit as end:
            code = end.code
    return Called(int(code or 0), out.getvalue(), err.getvalue())


def trained(folder: Path, text: str, wanted: Callable[[Member], bool]) -> Study:
    """A study of which the ``wanted`` members are done, without the cost of processes."""
    torch.set_num_threads(1)
    config = write(folder, text)
    study = Study.at(config_file.load(config), config, None)
    prepare.prepare(study, lambda done, total: None)
    study_files.write_plan(study)
    for subset in dict.fromkeys(member.subset for member in study.plan()):
        if members := [member for member in study.plan() if member.subset == subset and wanted(member)]:
            train_shard(study, members, Supervisor(lambda event: None, lambda: False))
    return study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return trained(tmp_path_factory.mktemp("probe"), STUDY, lambda member: member.subset != ("H",))


def of(study: Study, subset: tuple[str, ...], seed: int = 0) -> Member:
    return next(member for member in study.plan() if (member.subset, member.seed) == (subset, seed))


def recorded(study: Study, member: Member, epoch: int) -> dict[str, dict[str, Any]]:
    """What the study has measured itself, by task."""
    probes = json.loads(study.result(member).read_text())["probes"]
    return {p["task"]: {k: v for k, v in p.items() if k not in CLOCK} for p in probes if p["epoch"] == epoch}


def told(called: Called) -> dict[str, dict[str, Any]]:
    return {p["task"]: {k: v for k, v in p.items() if k not in CLOCK} for p in json.loads(called.out)["probes"]}


def files(study: Study) -> dict[Path, tuple[int, bytes]]:
    found = [path for path in study.root.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def test_the_last_weights_give_the_study_s_own_end_bit_for_bit(study: Study, tmp_path: Path) -> None:
    before = files(study)
    for member in study.plan():
        if member.subset == ("H",):
            continue
        called = probe(study.checkpoint(member), "--json", "--out", tmp_path / "all.json")
        assert called.code == 0, called.err
        assert told(called) == recorded(study, member, 3)
        whole = json.loads((tmp_path / "all.json").read_text())
        assert (whole["weights"], whole["epoch"], whole["member"]) == ("last", 3, member.to_json())
        own = {p.task: p for p in results.read(study.folder(member)).probes if p.epoch == 3}
        for found in whole["probes"]:
            for name in ("nodes", "weights"):
                assert np.array_equal(np.array(found[name], dtype=float), getattr(own[found["task"]], name))
    assert files(study) == before


def test_the_best_weights_give_the_probe_of_the_best_epoch(study: Study) -> None:
    done = [member for member in study.plan() if study.result(member).exists()]
    best = {member: json.loads(study.result(member).read_text())["best_epoch"] for member in done}
    earlier = [member for member in done if 0 < best[member] < 3]
    assert earlier, "no member of this study has its best epoch before its last; change its settings"
    for member in earlier:
        called = probe(study.folder(member), "--at", "best", "--json")
        assert told(called) == recorded(study, member, best[member])
        assert json.loads(called.out)["epoch"] == best[member]


def test_flags_are_settings_of_the_probes(study: Study, tmp_path: Path) -> None:
    path = study.checkpoint(of(study, ("M",)))
    by_flag = probe(
        path, "--json", "--trace", "deflated", "--trace-samples", 12, "--density", "deflated", "--lanczos-steps", 6,
        "--lanczos-starts", 2, "--graphs", 5, "--set", "probes.trace.pilot=4", "--set", "probes.density.steps=3",
    )  # fmt: skip
    assert by_flag.code == 0, by_flag.err
    found = json.loads(by_flag.out)
    expected = {"name": "deflated", "relative_error": 0.02, "norm_error": 0.002, "pilot": 4, "max_samples": 64}
    assert found["settings"]["trace"] == expected
    assert found["settings"]["density"] == {"name": "deflated", "steps": 3}
    (one,) = found["probes"]
    assert (one["num_graphs"], len(one["frobenius_runs"])) == (5, 2)
    assert 4 <= one["trace_samples"] <= 12
    assert one["num_matvecs"] == 6 + 2 * 3 + one["trace_samples"]
    # the same settings in the study's own section
    other = trained(
        tmp_path,
        STUDY.replace(
            "graphs: 8, trace_samples: 3, lanczos_steps: 4",
            "graphs: 5, trace: {name: deflated, pilot: 4}, trace_samples: 12, lanczos_steps: 6, lanczos_starts: 2, "
            "density: {name: deflated, steps: 3}",
        ),
        lambda member: (member.subset, member.seed) == (("M",), 0),
    )
    assert told(by_flag) == recorded(other, of(other, ("M",)), 3)


def test_a_study_without_probes_has_their_defaults(tmp_path: Path) -> None:
    without = "\n".join("probes: null" if line.startswith("probes:") else line for line in STUDY.splitlines())
    bare = trained(tmp_path, without, lambda member: (member.subset, member.seed) == (("M",), 0))
    called = probe(bare.checkpoint(of(bare, ("M",))), "--json")
    assert called.code == 0, called.err
    settings = json.loads(called.out)["settings"]
    assert (settings["graphs"], settings["trace"]["name"]) == (64, "hutchinson")
    called = probe(bare.checkpoint(of(bare, ("M",))), "--json", "--graphs", 8, "--set", "probes.leading=2")
    assert json.loads(called.out)["settings"] == {**settings, "graphs": 8, "leading": 2}


def test_tables_and_figures_for_people(study: Study, tmp_path: Path) -> None:
    both = of(study, ("H", "M"))
    called = probe(study.folder(both), "--figure", tmp_path / "spectra.svg")
    assert called.code == 0, called.err
    assert "probing: spectrum of H (1/3)" in called.err
    assert f"wrote {tmp_path / 'spectra.svg'}" in called.err
    for text in ("H in HM, epoch 3", "M in HM, epoch 3", "leading eigenvalue 1", "Gradient cosine", "H, M", "n = 3"):
        assert text in called.out, text
    drawn = (tmp_path / "spectra.svg").read_text()
    assert "synthetic data" in drawn
    assert "full range" in drawn
    alone = probe(study.folder(of(study, ("M",))))
    assert "M alone, epoch 3" in alone.out
    assert "Gradient cosine" not in alone.out


def test_one_task_alone_has_the_same_numbers(study: Study) -> None:
    member = of(study, ("H", "M"))
    found = told(probe(study.folder(member), "--json", "--task", "M"))
    expected = recorded(study, member, 3)["M"]
    assert found == {"M": {**expected, "pairs": {}}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "H"], "--task: got 'H', expected one of M, which M member"),
        (["--at", "first"], "'first' is not one of 'last', 'best'"),
        (["--set", "train.epochs=4"], "expected a key of probes"),
        (["--set", "probes.epochs=[0]"], "choose by --at last or best"),
        (["--set", "probes.graphs=0"], "--set probes.graphs=0: probes.graphs: expected a number greater than 0"),
        (["--trace", "hutchinsen"], "did you mean 'hutchinson'"),
        (["--figure", "a.pdf"], "expected a name that ends in .svg or .png"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_options_are_refused(study: Study, arguments: list[str], message: str) -> None:
    refused(probe(study.checkpoint(of(study, ("M",))), *arguments), message)


def refused(called: Called, message: str) -> None:
    assert called.code == 2, called.err
    assert message in called.err
    assert "Traceback" not in called.err
    assert not called.out


def test_what_is_no_checkpoint_is_refused(study: Study, tmp_path: Path) -> None:
    member = of(study, ("M",))
    refused(probe(tmp_path / "nothing.pt"), "does not exist")
    refused(probe(study.result(member)), "not a checkpoint; expected the member's checkpoint.pt")
    refused(probe(study.folder(of(study, ("H",))).parent.parent), "not a member of a study")
    shutil.copy(study.checkpoint(member), tmp_path)
    refused(probe(tmp_path / "checkpoint.pt"), "not a member of a study; expected STUDY/members/SUBSET/ID")
    untrained = study.folder(of(study, ("H",)))
    untrained.mkdir(parents=True, exist_ok=True)
    refused(probe(untrained), "no such checkpoint, so the member is not trained")
    for path in (study.root / "new.svg", study.folder(member) / "result.svg"):
        refused(probe(study.folder(member), "--figure", path), "lies in the study, which is not changed")


@pytest.fixture
def copied(study: Study, tmp_path: Path) -> Study:
    shutil.copytree(study.root, tmp_path / "copy")
    return Study(study.config, tmp_path / "copy")


def test_a_moved_study_is_probed_where_it_is(copied: Study) -> None:
    member = of(copied, ("M",))
    assert told(probe(copied.folder(member), "--json")) == recorded(copied, member, 3)


def test_damage_is_refused(copied: Study) -> None:
    mine, other = of(copied, ("M",)), of(copied, ("M",), 1)
    path = copied.checkpoint(mine)
    shutil.copy(copied.checkpoint(other), path)
    refused(probe(path), f"belongs to member {other.id}, expected {mine.id}")
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    refused(probe(path), "not a readable checkpoint")
    path.write_bytes(b"PK\x03\x04 no archive")
    refused(probe(path), "not a readable checkpoint")
    resolved = copied.root / "resolved.yaml"
    resolved.write_text(resolved.read_text().replace("width: 4", "width: none"))
    refused(probe(copied.folder(other)), "resolved.yaml:")


def test_another_configuration_or_other_data_are_refused(copied: Study) -> None:
    member = of(copied, ("M",))
    resolved, result = copied.root / "resolved.yaml", copied.result(member)
    planned = resolved.read_text()
    resolved.write_text(planned.replace("lr: 0.1", "lr: 0.2"))
    refused(probe(copied.folder(member)), "is not in the plan of")
    resolved.write_text(planned)
    record = json.loads(result.read_text())
    result.write_text(json.dumps({**record, "data_sha256": "0" * 64}))
    refused(probe(copied.folder(member)), "trained on other data (000000000000)")
    split = copied.split(0)
    split.write_text(json.dumps({**json.loads(split.read_text()), "data_sha256": "1" * 64}))
    refused(probe(copied.folder(member)), "made for other data than")


RARE = """
name: rare
data: {name: smiles, path: molecules.csv, smiles: smiles, targets: {a: eV, b: eV}}
graph: {node_features: one_hot, elements: found}
tasks: {A: {target: a}, B: {target: b}}
subsets: [[A, B]]
seeds: 1
split: {name: random, fractions: [0.6, 0.2, 0.2]}
normalize: {method: standard, fit_on: train}
model: {trunk: {conv: gin, layers: 1, width: 3}, heads: [3]}
train: {epochs: 1, batch_size: 8, device: cpu, optimizer: {name: adam, lr: 0.01}}
probes: {epochs: [0, end], graphs: 3, trace_samples: 3, lanczos_steps: 3}
launch: {launcher: local}
"""


def test_a_task_without_a_label_in_the_probe_set_has_no_curvature(tmp_path: Path) -> None:
    """Rather than one of 0. Four fifths of the rows have no b; some split leaves the three probed without one."""
    rows = [f"{'C' * (n + 1)}O,{n},{n * n % 7 if n % 5 == 0 else ''}" for n in range(60)]
    (tmp_path / "molecules.csv").write_text("smiles,a,b\n" + "\n".join(rows) + "\n")
    rare = trained(tmp_path, RARE, lambda member: True)
    (member,) = rare.plan()
    probed = {one.task for one in results.read(rare.folder(member)).probes}
    assert probed == {"A"}, "the three graphs of this split have a label of B; take another seed for the split"
    (table,) = [table for table in tables.all_tables(gather(rare)) if table.title.startswith("Curvature of")]
    assert "None of B: no graph of the probe set has a label" in table.caption
    called = probe(rare.checkpoint(member))
    assert called.code == 2
    assert "none of the 3 training graphs of the probe set has a label of B" in called.err
    assert probe(rare.checkpoint(member), "--task", "A").code == 0
    assert probe(rare.checkpoint(member), "--graphs", 20).code == 0
