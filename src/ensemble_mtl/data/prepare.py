"""What must exist before any member can train: the graph store, the splits and the normalisers.

The launching process prepares them once; the workers only read them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ensemble_mtl.config.registry import unknown
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import DataError, StudyError
from ensemble_mtl.core.storage import atomic
from ensemble_mtl.data import audit, build, store, vocabulary
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.graph import FloatArray, IntArray
from ensemble_mtl.data.normalizer import Normalizer
from ensemble_mtl.data.normalizer import fit as fit_normalizer
from ensemble_mtl.data.sources.base import Progress
from ensemble_mtl.data.split import base as splits
from ensemble_mtl.data.split.base import Split
from ensemble_mtl.study.directory import Study


@dataclass(frozen=True)
class Prepared:
    """A study's data with one of its splits, ready to train on.

    Attributes:
        store: all graphs.
        split: which of the graphs are for training, validation and test.
        normalizers: task -> normaliser of its target.
        input_normalizer: normaliser of the proton numbers.
    """

    store: GraphStore
    split: Split
    normalizers: dict[str, Normalizer]
    input_normalizer: Normalizer


def prepare(study: Study, progress: Progress) -> GraphStore:
    """Make the graph store, splits and normalisers of ``study`` unless they are there, and return the graph store.

    Args:
        study: the study.
        progress: called with (done, total) while raw files are read.

    Raises:
        DataError: the raw data, or the targets that the tasks name, are not as expected.
        StudyError: members were trained on other data, or with another split, than this configuration gives.
    """
    graphs = build.ensure(
        study.config, study.data, study.raw, progress, lambda graphs: _refuse_other_data(study, graphs)
    )
    check_targets(study.config, graphs)
    _refuse_copies(study.config, graphs)
    vocabulary.check(graphs, study.config.graph)
    splitter = splits.FAMILY.of(study.config.split)
    for seed in study.config.split_seeds:
        split = splitter.split(graphs, study.config.split, seed)
        _require_labels(study.config, graphs, split)
        content = {
            "data_sha256": graphs.sha256,
            "split": split.to_json(),
            "normalizers": _target_normalizers(study.config, graphs, split),
            "input_normalizer": _input_normalizer(study.config, graphs, split).to_json(),
        }
        _write_split(study, seed, content)
    return graphs


def _write_split(study: Study, seed: int, content: dict[str, Any]) -> None:
    """Write the split with its normalisers, unless the same content is there already.

    Members that are trained depend on the split under which they were. So it must not change any more; normalisers of
    further tasks may be added, and those of tasks that this configuration lacks are kept.

    Raises:
        StudyError: members in the directory were trained with another split.
    """
    path = study.split(seed)
    try:
        existing = json.loads(path.read_text())
    except (OSError, ValueError):
        existing = None
    if existing and any(record["member"]["split"] == seed for _, record in _results(study) if "member" in record):
        existing_normalizers, normalizers = existing["normalizers"], content["normalizers"]
        if _without_normalizers(existing) != _without_normalizers(content) or any(
            normalizers.get(task, existing_normalizer) != existing_normalizer
            for task, existing_normalizer in existing_normalizers.items()
        ):
            raise StudyError(
                f"{path}: members in this directory were trained with this split and its normalisers, but this "
                "configuration (or this version of ensemble-mtl) gives others; restore the former configuration, or "
                "use another name or --out DIR"
            )
        content = {**content, "normalizers": {**existing_normalizers, **normalizers}}
    if content != existing:
        atomic.write_text(path, json.dumps(content) + "\n")


def _without_normalizers(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != "normalizers"}


def load(study: Study, split_seed: int) -> Prepared:
    """Return the data that :func:`prepare` made for the split ``split_seed``.

    Raises:
        DataError: the split is missing or damaged, or was made for other data.
        StoreError: the graph store is missing or damaged.
    """
    path = study.split(split_seed)
    graphs = store.load(study.data)
    try:
        content = json.loads(path.read_text())
        split = Split.from_json(content["split"])
        normalizers = {name: Normalizer.from_json(value) for name, value in content["normalizers"].items()}
        input_normalizer = Normalizer.from_json(content["input_normalizer"])
        data_sha256 = content["data_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: this is not a readable split ({error}); `ensemble-mtl run` makes it anew") from None
    if data_sha256 != graphs.sha256:
        raise DataError(f"{path}: this was made for other data than {study.data}; `ensemble-mtl run` makes it anew")
    return Prepared(graphs, split, normalizers, input_normalizer)


def training_part(split: Split, fraction: float) -> IntArray:
    """Return the indices of the first share ``fraction`` of the shuffled training part, at least one.

    Smaller shares are contained in larger ones.
    """
    return split.train[: max(1, round(fraction * len(split.train)))]


def check_targets(config: StudyConfig, graphs: GraphStore) -> None:
    """Check that the data offer every task's target.

    Raises:
        DataError: a task names a target that the data lack; the message lists those that they offer.
    """
    for name, task in config.tasks.items():
        if task.target not in graphs.targets:
            raise DataError(f"tasks.{name}.target: {unknown(task.target, sorted(graphs.targets))}")


def _refuse_copies(config: StudyConfig, graphs: GraphStore) -> None:
    """Raise DataError if two tasks have equal targets.

    Such a property would count twice, and look like a gain from learning it together with another one.
    """
    tasks = {task.target: name for name, task in config.tasks.items()}
    for one, other in [] if config.data.allows_equal_targets() else audit.equal_targets(graphs, tasks):
        remedy = f", or {config.data.equal_targets_remedy}" if config.data.equal_targets_remedy else ""
        raise DataError(
            f"tasks.{tasks[one]}.target and tasks.{tasks[other]}.target: {one} and {other} are equal in every value, "
            f"expected different properties; remove one of the tasks{remedy}"
        )


def _require_labels(config: StudyConfig, graphs: GraphStore, split: Split) -> None:
    """Raise DataError if a task has no label at all in one of the parts.

    Without labels there is nothing to learn, early stopping has nothing to watch, and a test error means nothing.
    """
    for name, task in config.tasks.items():
        # the smallest share of the training part is contained in all larger ones
        parts = {**split.parts, "train": training_part(split, min(config.fractions))}
        for part, indices in parts.items():
            if np.isnan(part_targets(graphs, task.target, indices)).all():
                raise DataError(
                    f"tasks.{name}.target: no graph of the {part} part has a value of {task.target}, expected at least "
                    "one; use more data, other split fractions, or another split seed"
                )


def part_targets(graphs: GraphStore, target: str, indices: IntArray) -> FloatArray:
    """Return the values of ``target`` for the graphs ``indices``, in physical units.

    Args:
        graphs: the data set.
        target: name of a target of the data set.
        indices: ``[n]`` indices of graphs in it.

    Returns:
        ``[n]`` values for a graph-level target; for a node-level one the values of all nodes, graph by graph.
    """
    column = graphs.targets[target]
    if graphs.target_info(target).level == "graph":
        return column[indices]
    return np.concatenate([column[graphs.node_ptr[g] : graphs.node_ptr[g + 1]] for g in indices])


def _target_normalizers(config: StudyConfig, graphs: GraphStore, split: Split) -> dict[str, dict[str, Any]]:
    """Return, for each task, the normaliser of its target as JSON values."""
    indices = _graphs_to_fit(config, graphs, split)
    normalizers = {}
    for name, task in config.tasks.items():
        values = part_targets(graphs, task.target, indices)
        normalizer = fit_normalizer(values, config.normalize.method, name=f"tasks.{name}.target: {task.target}")
        normalizers[name] = normalizer.to_json()
    return normalizers


def _input_normalizer(config: StudyConfig, graphs: GraphStore, split: Split) -> Normalizer:
    """Return the normaliser of the proton numbers."""
    indices = _graphs_to_fit(config, graphs, split)
    numbers = np.concatenate([graphs.atomic_numbers[graphs.node_ptr[g] : graphs.node_ptr[g + 1]] for g in indices])
    if numbers.min() == numbers.max():  # there is a single element, which becomes the input 0
        return Normalizer(float(numbers[0]), 1.0, config.normalize.method)
    return fit_normalizer(numbers.astype(np.float64), config.normalize.method, name="proton number")


def _graphs_to_fit(config: StudyConfig, graphs: GraphStore, split: Split) -> IntArray:
    """Return the indices of the graphs from which normalisers take their scale.

    It is the whole training part, also for members that train on a share of it, so that the errors of all members can
    be compared; or all graphs, if the configuration says so.
    """
    return np.arange(len(graphs)) if config.normalize.fit_on == "all" else split.train


def _refuse_other_data(study: Study, graphs: GraphStore) -> None:
    """Raise StudyError if a member in the directory was trained on other data than ``graphs``."""
    for path, record in _results(study):
        sha256 = record.get("data_sha256")
        if sha256 != graphs.sha256:
            raise StudyError(
                f"{path}: this member was trained on other data ({str(sha256)[:12]}) than this configuration now gives "
                f"({graphs.sha256[:12]}); restore the former data and graph settings, or use another name or --out DIR"
            )


def _results(study: Study) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the path and content of every readable result in the directory, of this configuration or of another."""
    for path in sorted(study.root.glob("members/*/*/result.json")):
        try:
            yield path, json.loads(path.read_text())
        except (OSError, ValueError):
            continue
