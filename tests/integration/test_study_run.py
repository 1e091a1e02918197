"""Whole studies through the command line."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from helpers.studies import (
    TINY,
    call,
    command,
    results,
    status,
    write,
)

from ensemble_mtl.analysis import json_model, summary_file
from ensemble_mtl.analysis.summary import Summary
from ensemble_mtl.data import store
from ensemble_mtl.study import results as member_results


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a study that has run."""
    config = write(tmp_path_factory.mktemp("finished"), TINY.replace("figures: none", "figures: [spectra, learning]"))
    done = call("run", config)
    assert done.returncode == 0, done.stderr
    return config


def test_a_study_leaves_everything_that_it_names(finished: Path) -> None:
    root = finished.parent / "studies/tiny"
    for name in ("resolved.yaml", "plan.json", "data.bp", "splits/split-0.json", "summary.json", "summary.csv"):
        assert (root / name).exists(), name
    assert "<html" in (root / "report.html").read_text()
    assert {path.name for path in (root / "figures").iterdir()} == {"learning.svg", "spectra.svg"}
    for result in results(root).values():
        names = {path.name for path in result.parent.iterdir()}
        assert names == {"result.json", "result.bp", "metrics.jsonl", "checkpoint.pt", "log.txt", "attempts.jsonl"}


def test_the_interfaces_for_scripts(finished: Path) -> None:
    found = status(finished)
    assert {key: found[key] for key in ("done", "running", "failed", "missing", "total")} == {
        "done": 6,
        "running": 0,
        "failed": 0,
        "missing": 0,
        "total": 6,
    }
    planned = json.loads(call("plan", finished, "--json").stdout)["members"]
    assert len(planned) == 6
    assert all({"id", "subset", "seed", "split", "fraction", "parameters"} <= set(member) for member in planned)
    gathered = call("gather", finished, "--json")
    assert gathered.returncode == 0
    jsonschema.validate(json.loads(gathered.stdout), json.loads(call("schema", "summary").stdout))
    summary = json_model.parse(gathered.stdout, Summary)
    assert all(cell.error.members == 2 for cell in summary.cells)
    assert [row.subset for row in summary.wall_clock] == [("H", "M"), ("H",), ("M",)]
    given = (finished, "--out", finished.parent / "studies/tiny", "--set", "report.figures=none")
    told = call("gather", *given).stderr
    assert f"next: `ensemble-mtl report {shlex.join(map(str, given))}`" in told, "the next command is not to be retyped"
    assert summary.synthetic


def test_a_second_run_trains_nothing(finished: Path) -> None:
    root = finished.parent / "studies/tiny"
    before = {path: path.stat().st_mtime_ns for path in root.glob("members/*/*/*")}
    again = call("run", finished, "--no-report")
    assert again.returncode == 0
    assert "all 6 members are done already" in again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in root.glob("members/*/*/*")}


def test_the_one_node_job_script(finished: Path) -> None:
    script = Path(__file__).parents[2] / "jobs/one-node.sh"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [script, finished, "--no-report"], capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, done.stderr
    assert "all 6 members are done already" in done.stderr


def test_summary_is_the_mean_of_the_members(finished: Path) -> None:
    root = finished.parent / "studies/tiny"
    summary = summary_file.load(root / "summary.json")
    records = [json.loads(path.read_text()) for path in results(root).values()]
    for cell in summary.cells:
        own = [r for r in records if r["member"]["subset"] == list(cell.subset)]
        values = [r["metrics"][cell.task]["test"][cell.metric] for r in own]
        assert cell.error.mean == pytest.approx(sum(values) / len(values), rel=1e-12)  # order of summation


def test_stored_predictions_give_the_stored_errors(finished: Path) -> None:
    root = finished.parent / "studies/tiny"
    graphs = store.load(root / "data.bp")
    test = json.loads((root / "splits/split-0.json").read_text())["split"]["test"]
    units = {"H": ("mixing_enthalpy", "Ry"), "M": ("magnetic_moment", "μB")}
    for path in results(root).values():
        result = member_results.read(path.parent)
        for task, predicted in result.predictions.items():
            target, unit = units[task]
            column, pointer = graphs.targets[target], graphs.node_ptr
            truth = column[test] if task == "H" else np.concatenate([column[pointer[g] : pointer[g + 1]] for g in test])
            assert result.units[task] == unit
            found = result.metrics[task]["test"]
            rmse, mae = np.sqrt(np.mean((predicted - truth) ** 2)), np.mean(np.abs(predicted - truth))
            # predictions are stored in float32
            assert (found["rmse"], found["mae"]) == pytest.approx((rmse, mae), rel=1e-5)


def test_metrics_of_every_epoch_are_kept(finished: Path) -> None:
    for path in results(finished.parent / "studies/tiny").values():
        lines = [json.loads(line) for line in (path.parent / "metrics.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in lines] == [1, 2, 3]
        best = min(lines, key=lambda line: line["val_loss"])
        assert json.loads(path.read_text())["best_epoch"] == best["epoch"]


def test_plan_estimates_after_a_measurement(finished: Path) -> None:
    measured = call("plan", finished, "--measure", "--json")
    assert measured.returncode == 0, measured.stderr
    estimate = json.loads(measured.stdout)["estimate"]
    assert estimate["seconds_about"] > 0
    assert estimate["workers"] == 2
    assert call("plan", finished, "--json").stdout == measured.stdout
    other = json.loads(call("plan", finished, "--json", "--set", "train.epochs=4000").stdout)
    assert other["estimate"] is None  # it was measured for another study


def test_results_of_another_configuration_are_said_to_be_so(finished: Path) -> None:
    root = finished.parent / "studies/tiny"
    before = (root / "summary.json").read_text()
    gathered = call("gather", finished, "--set", "train.epochs=2")
    assert gathered.returncode == 3
    assert "belong to another configuration" in gathered.stderr
    assert (root / "summary.json").read_text() == before
    shown = call("status", finished, "--set", "train.epochs=2")
    assert "6 result(s) in the directory belong to another configuration" in shown.stdout


def test_looking_into_other_data_changes_nothing(finished: Path) -> None:
    root = finished.parent / "studies/tiny"
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    looked = call("data", "inspect", finished, "--set", "data.num_configurations=50", "--set", "graph.radius=9")
    assert looked.returncode == 0, looked.stderr
    assert "\n50 graphs, 800 atoms" in looked.stdout
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    refused = call("run", finished, "--set", "graph.radius=9", "--no-report")
    assert refused.returncode == 2
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.*")} == {
        p: t for p, t in before.items() if p.suffix
    }
    assert "use another name or --out DIR" in refused.stderr
    assert call("gather", finished).returncode == 0


@pytest.mark.parametrize("out", ["taken", "taken/below"])
def test_a_study_directory_that_is_a_file_is_one_clear_error(tmp_path: Path, out: str) -> None:
    config = write(tmp_path)
    (tmp_path / "taken").write_text("")
    done = call("run", config, "--out", tmp_path / out)
    assert done.returncode == 2
    assert "taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_member_whose_loss_diverges_fails_and_says_why(tmp_path: Path) -> None:
    text = TINY.replace("optimizer", "x").replace("train: {", "train: {optimizer: {name: adam, lr: 1.0e+300}, ")
    done = call("run", write(tmp_path, text), "--no-report")
    assert done.returncode == 1
    assert "the loss is not finite after epoch" in done.stderr
    assert "train.optimizer.lr" in done.stderr


def test_changed_data_are_refused_once_members_are_trained(tmp_path: Path) -> None:
    config, root = write(tmp_path), tmp_path / "studies/tiny"
    assert call("run", config, "--no-report").returncode == 0
    files = str(next(path for path in root.joinpath("raw").rglob("out_*")).parent)
    own_files = f"{{name: lsms, path: {files}, cell: [10.436, 10.436, 14.116], on_error: skip}}"
    text = TINY.replace("{name: alloy, num_configurations: 60, seed: 3}", own_files)
    own = tmp_path / "own"
    own.mkdir()
    config = write(own, text)
    assert call("run", config, "--no-report").returncode == 0
    changed = Path(files) / "out_5"
    changed.write_text(changed.read_text().replace("-1.00", "-2.00", 1).replace("0.000000", "0.000001", 1))
    again = call("run", config, "--no-report")
    assert again.returncode == 2
    assert "trained on other data" in again.stderr
    assert "Traceback" not in again.stderr
    assert call("gather", config).returncode == 0  # the store that they were trained on is still there


def test_no_traceback_for_a_users_mistake(tmp_path: Path) -> None:
    broken = write(tmp_path, TINY.replace("conv: gin", "conv: ginn"))
    for verb in ("validate", "plan", "run", "status", "gather", "report"):
        done = call(verb, broken)
        assert done.returncode == 2
        assert "tiny.yaml:8: model.trunk.conv" in done.stderr
        assert "Traceback" not in done.stderr
    target = write(tmp_path, TINY.replace("mixing_enthalpy", "mixing_entalpy"))
    done = call("run", target)
    assert done.returncode == 2
    assert "tasks.H.target" in done.stderr
    assert "did you mean 'mixing_enthalpy'" in done.stderr


def test_gather_and_report_before_anything_is_done(tmp_path: Path) -> None:
    config = write(tmp_path)
    for verb in ("gather", "report"):
        done = call(verb, config)
        assert done.returncode == 3, done.stderr
        assert "Traceback" not in done.stderr


def test_output_that_nobody_reads_is_no_error(tmp_path: Path) -> None:
    planned = subprocess.Popen(
        command("plan", write(tmp_path), "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert planned.stdout is not None
    planned.stdout.close()  # as `| head` does
    _, errors = planned.communicate(timeout=60)
    assert b"Traceback" not in errors
    assert b"Exception" not in errors
