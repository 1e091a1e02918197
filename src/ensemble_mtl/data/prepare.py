"""What must exist before any member can train: graph store, splits, normalisers.

Done once, by the launching process; the workers only read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ensemble_mtl.config import registry
from ensemble_mtl.config.registry import unknown
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import DataError, StudyError
from ensemble_mtl.core.storage import atomic
from ensemble_mtl.data import audit, build, store, vocabulary
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.graph import FloatArray, IntArray
from ensemble_mtl.data.normalizer import Normalizer
from ensemble_mtl.data.normalizer import fit as fit_normalizer
from ensemble_mtl.data.split.base import Split
from ensemble_mtl.study.directory import Study

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Prepared:
    """One split of a study's data, ready to train on.

    Attributes:
        store: all graphs.
        split: which of them are for training, validation and test.
        normalizers: task -> normaliser of its target.
        input_normalizer: of the proton numbers.
    """

    store: GraphStore
    split: Split
    normalizers: dict[str, Normalizer]
    input_normalizer: Normalizer


def prepare(study: Study, progress: Progress) -> GraphStore:
    """Make whatever is missing and return the graph store.

    Raises:
        DataError: the raw data, or the targets that the tasks name, are not as expected.
        StudyError: members were trained on other data than those now at hand.
    """
    graphs = build.ensure(
        study.config, study.data, study.raw, progress, lambda graphs: _refuse_other_data(study, graphs)
    )
    check_targets(study.config, graphs)
    _refuse_copies(study.config, graphs)
    vocabulary.check(graphs, study.config.graph)
    module = registry.load("data.split", study.config.split.name)
    for seed in study.config.split_seeds:
        split = module.split(graphs, study.config.split, seed)
        _require_labels(study.config, graphs, split)
        content = {
            "data_sha256": graphs.sha256,
            "split": split.to_json(),
            "normalizers": {name: found.to_json() for name, found in _fit(study.config, graphs, split).items()},
            "input_normalizer": _fit_input(study.config, graphs, split).to_json(),
        }
        _write_split(study, seed, content)
    return graphs


def _write_split(study: Study, seed: int, content: dict[str, Any]) -> None:
    """Write the split, unless members in the directory rest on one that differs from it."""
    path = study.split(seed)
    try:
        former = json.loads(path.read_text())
    except (OSError, ValueError):
        former = None
    if former and any(record["member"]["split"] == seed for _, record in _results(study) if "member" in record):
        if _without_normalizers(former) != _without_normalizers(content) or any(
            content["normalizers"].get(task, found) != found for task, found in former["normalizers"].items()
        ):
            raise StudyError(
                f"{path}: members in this directory rest on this split and its normalisers, and this configuration (or "
                "this version of ensemble-mtl) gives others; use another name or --out DIR"
            )
        content = {**content, "normalizers": {**former["normalizers"], **content["normalizers"]}}
    if content != former:
        atomic.write_text(path, json.dumps(content) + "\n")


def _without_normalizers(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != "normalizers"}


def load(study: Study, split_seed: int) -> Prepared:
    """What :func:`prepare` made for one split.

    Raises:
        DataError: it is missing or damaged.
    """
    path = study.split(split_seed)
    graphs = store.load(study.data)
    try:
        content = json.loads(path.read_text())
        split = Split.from_json(content["split"])
        normalizers = {name: Normalizer.from_json(value) for name, value in content["normalizers"].items()}
        input_normalizer = Normalizer.from_json(content["input_normalizer"])
        made_for = content["data_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a readable split ({error}); `ensemble-mtl run` makes it anew") from None
    if made_for != graphs.sha256:
        raise DataError(f"{path}: made for other data than {study.data}; `ensemble-mtl run` makes it anew")
    return Prepared(graphs, split, normalizers, input_normalizer)


def training_part(split: Split, fraction: float) -> IntArray:
    """The first share of the (shuffled) training part; smaller shares lie in larger ones."""
    return split.train[: max(1, round(fraction * len(split.train)))]


def check_targets(config: StudyConfig, graphs: GraphStore) -> None:
    """Raise DataError unless the data offer every task's target."""
    for name, task in config.tasks.items():
        if task.target not in graphs.targets:
            raise DataError(f"tasks.{name}.target: {unknown(task.target, sorted(graphs.targets))}")


def _refuse_copies(config: StudyConfig, graphs: GraphStore) -> None:
    """A property that stands in the data under two names would count twice, and look like a gain from company."""
    tasks = {task.target: name for name, task in config.tasks.items()}
    told = getattr(config.data, "duplicates", None)
    for one, other in audit.equal_targets(graphs, tasks) if told != "allow" else ():
        remedy = ", or set data.duplicates: allow" if told else ""
        raise DataError(
            f"tasks.{tasks[one]}.target and tasks.{tasks[other]}.target: {one} and {other} are equal in every value, "
            f"expected different properties; remove one of the tasks{remedy}"
        )


def _require_labels(config: StudyConfig, graphs: GraphStore, split: Split) -> None:
    """Early stopping and test errors mean nothing for a task without labels in their parts."""
    for name, task in config.tasks.items():
        # the smallest share of the training part lies in all others
        parts = {**split.parts, "train": training_part(split, min(config.fractions))}
        for part, chosen in parts.items():
            if np.isnan(part_targets(graphs, task.target, chosen)).all():
                raise DataError(
                    f"tasks.{name}.target: no {task.target} is known in the {part} part; "
                    "use more data, other split fractions, or another split seed"
                )


def part_targets(graphs: GraphStore, target: str, chosen: IntArray) -> FloatArray:
    """``[n]`` targets of the ``chosen`` graphs in physical units, node targets graph by graph."""
    column = graphs.targets[target]
    if graphs.target_info(target).level == "graph":
        return column[chosen]
    return np.concatenate([column[graphs.node_ptr[g] : graphs.node_ptr[g + 1]] for g in chosen])


def _fit(config: StudyConfig, graphs: GraphStore, split: Split) -> dict[str, Normalizer]:
    chosen = _fitted_on(config, graphs, split)
    found = {}
    for name, task in config.tasks.items():
        values = part_targets(graphs, task.target, chosen)
        found[name] = fit_normalizer(values, config.normalize.method, name=f"tasks.{name}.target: {task.target}")
    return found


def _fit_input(config: StudyConfig, graphs: GraphStore, split: Split) -> Normalizer:
    chosen = _fitted_on(config, graphs, split)
    numbers = np.concatenate([graphs.atomic_numbers[graphs.node_ptr[g] : graphs.node_ptr[g + 1]] for g in chosen])
    if numbers.min() == numbers.max():  # one element: nothing to tell apart, so the input is 0
        return Normalizer(float(numbers[0]), 1.0, config.normalize.method)
    return fit_normalizer(numbers.astype(np.float64), config.normalize.method, name="proton number")


def _fitted_on(config: StudyConfig, graphs: GraphStore, split: Split) -> IntArray:
    """The whole training part, also for members that train on a share of it: their errors compare."""
    return np.arange(len(graphs)) if config.normalize.fit_on == "all" else split.train


def _refuse_other_data(study: Study, graphs: GraphStore) -> None:
    for path, record in _results(study):
        used = record.get("data_sha256")
        if used != graphs.sha256:
            raise StudyError(
                f"{path}: trained on other data ({str(used)[:12]}) than this configuration now gives "
                f"({graphs.sha256[:12]}); restore the former data and graph settings, or use another name or --out DIR"
            )


def _results(study: Study) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every readable result in the directory, of this configuration or of another."""
    for path in sorted(study.root.glob("members/*/*/result.json")):
        try:
            yield path, json.loads(path.read_text())
        except (OSError, ValueError):
            continue
