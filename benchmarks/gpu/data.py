"""The studies' data as they travel: prepared graph stores and splits, with the configuration that made them.

A folder of data holds one folder per case, ``fept`` (a shared lattice) and ``qm8`` (molecules): ``case.json``,
``data.bp`` and ``splits/``. :mod:`benchmarks.gpu.pack` makes it from the published data; where there is none, this
module makes a stand-in of a synthetic alloy and of a few small molecules.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.curvature_problem import TASKS, write_molecules
from benchmarks.gpu.part import Setting
from ensemble_mtl.config import file as config_file
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.data import prepare
from ensemble_mtl.data.columns import GraphStore, Topologies
from ensemble_mtl.data.graph import IntArray
from ensemble_mtl.data.prepare import Prepared
from ensemble_mtl.data.split.base import Split
from ensemble_mtl.study.directory import Study

CONFIGS = Path(__file__).parents[2] / "configs"
CASES = ("fept", "qm8")
MERGED = ("train", "launch", "graph", "data")
"""Sections of which single keys are replaced; others are replaced as a whole."""
SMALL = {
    "fept": {"trunk": {"conv": "pna", "layers": 2, "width": 6}, "heads": [6]},
    "qm8": {"trunk": {"name": "graph_network", "steps": 2, "width": 6}, "heads": [6]},
}
SMALL_BATCH = 16


def updated(config: dict[str, Any], sections: dict[str, Any]) -> dict[str, Any]:
    """``config`` with other ``sections``, see :data:`MERGED`."""
    merged = {key: {**config.get(key, {}), **value} for key, value in sections.items() if key in MERGED}
    return {**config, **sections, **merged}


def name_of(setting: Setting, case: str) -> str:
    """What the data are called in tables."""
    return str(_read(setting.data / case)["name"])


def config_of(setting: Setting, case: str, **sections: Any) -> StudyConfig:
    """The configuration of a case, with other sections."""
    return StudyConfig.model_validate(updated(_read(setting.data / case)["config"], sections))


def study_of(setting: Setting, case: str, place: str, **sections: Any) -> Study:
    """A study directory of its own in the part's work folder, with the prepared data of a case.

    Args:
        setting: where the data are.
        case: which of them.
        place: name of the directory.
        sections: replace those of the configuration.
    """
    root = setting.work / place
    shutil.copytree(setting.data / case, root)
    return Study(config_of(setting, case, **sections), root)


def prepared_of(setting: Setting, case: str) -> Prepared:
    """The whole data of a case, with the first split."""
    return prepare.load(Study(config_of(setting, case), setting.data / case), 0)


def few(prepared: Prepared, count: int) -> Prepared:
    """So many graphs of the data, drawn at random; three quarters of them train."""
    store = prepared.store
    chosen = np.sort(np.random.default_rng(0).permutation(len(store))[:count])
    used, topology = np.unique(store.topology[chosen], return_inverse=True)
    nodes = _spans(store.node_ptr, chosen)
    levels = {info.name: chosen if info.level == "graph" else nodes for info in store.info}
    smaller = replace(
        store,
        names=[store.names[g] for g in chosen],
        node_ptr=_pointer(store.node_ptr, chosen),
        atomic_numbers=store.atomic_numbers[nodes],
        topology=topology,
        topologies=_topologies(store.topologies, used),
        targets={name: store.targets[name][rows] for name, rows in levels.items()},
    )
    train, rest = np.split(np.arange(len(chosen)), [3 * len(chosen) // 4])
    return replace(prepared, store=smaller, split=Split(train, rest[::2], rest[1::2]))


def _topologies(whole: Topologies, used: IntArray) -> Topologies:
    nodes, edges = _spans(whole.node_ptr, used), _spans(whole.edge_ptr, used)
    return Topologies(
        node_ptr=_pointer(whole.node_ptr, used),
        edge_ptr=_pointer(whole.edge_ptr, used),
        edge_index=whole.edge_index[:, edges],
        edge_length=whole.edge_length[edges],
        positions=whole.positions[nodes],
        cells=whole.cells[used],
        bond_kind=None if whole.bond_kind is None else whole.bond_kind[edges],
    )


def _spans(pointer: IntArray, rows: IntArray) -> IntArray:
    """The places that the ``rows`` own, one after the other."""
    return np.concatenate([np.arange(pointer[row], pointer[row + 1]) for row in rows])


def _pointer(pointer: IntArray, rows: IntArray) -> IntArray:
    return np.concatenate([[0], np.diff(pointer)[rows].cumsum()])


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "case.json"
    if not path.exists():
        raise FileNotFoundError(f"no {path.name} in {folder.name}: not a folder of `python -m benchmarks.gpu.pack`")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def published(case: str, sections: dict[str, Any]) -> dict[str, Any]:
    """The shipped configuration of a case as a mapping, with other sections."""
    config, _ = config_file.read(CONFIGS / f"{case}.yaml", "study", "'name', 'data' and 'tasks'")
    return updated(config, sections)


def write(folder: Path, name: str, config: dict[str, Any], keep_targets: bool = True) -> GraphStore:
    """Prepare a case's data in ``folder``.

    Args:
        folder: the case's folder.
        name: what the data are called in tables.
        config: the study.
        keep_targets: whether targets that no task names stay in the store.
    """
    from ensemble_mtl.data import store as graph_store

    checked = StudyConfig.model_validate(config)
    study = Study(checked, folder)
    folder.mkdir(parents=True)
    store = prepare.prepare(study, lambda done, total: None)
    if not keep_targets:
        wanted = {task.target for task in checked.tasks.values()}
        info = tuple(entry for entry in store.info if entry.name in wanted)
        store = replace(store, info=info, targets={entry.name: store.targets[entry.name] for entry in info})
        graph_store.save(study.data, replace(store, sha256=graph_store.content_sha256(store)))
        prepare.prepare(study, lambda done, total: None)  # the split names the content it was made for
    shutil.rmtree(study.raw, ignore_errors=True)
    dumped = checked.model_dump(mode="json")
    if "path" in dumped["data"]:  # the raw file stays behind, and a store knows it by its name
        dumped["data"]["path"] = Path(dumped["data"]["path"]).name
    (folder / "case.json").write_text(json.dumps({"name": name, "config": dumped}))
    return store


def write_stand_ins(folder: Path, full: bool) -> None:
    """A synthetic alloy on FePt's lattice, and small molecules; the small ones with small networks."""
    number, supercell = (3000, [4, 2, 2]) if full else (128, [2, 2, 2])
    alloy = {"name": "alloy", "num_configurations": number, "supercell": supercell}
    lattice = published("fept", {}) | {"data": alloy}
    folder.mkdir(parents=True, exist_ok=True)
    molecules = {"name": "smiles", "path": str(write_molecules(folder)), "targets": dict.fromkeys(TASKS, "")}
    tasks = {task: {"target": task} for task in TASKS}
    graph = {"node_features": "one_hot", "elements": "found", "bonds": "found"}
    ragged = published("qm8", {"tasks": tasks}) | {"data": molecules, "graph": graph}
    if not full:
        lattice, ragged = (
            updated(config, {"model": SMALL[case], "train": {"batch_size": SMALL_BATCH}})
            for case, config in (("fept", lattice), ("qm8", ragged))
        )
    write(folder / "fept", "synthetic alloy, a stand-in for FePt", lattice)
    write(folder / "qm8", "small molecules, a stand-in for QM8", ragged)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the stand-ins.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    write_stand_ins(arguments.folder, arguments.full)
