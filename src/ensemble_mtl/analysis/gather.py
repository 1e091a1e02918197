"""From the members' results to one summary: what is known, and what is not.

Only results that verify, and that were trained on the study's own data, enter a mean;
all others are listed with the reason. The summary depends on nothing but the study's
files: gathering twice gives the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ensemble_mtl import __version__
from ensemble_mtl.analysis import (
    aggregates,
    convergence,
    statistics,
)
from ensemble_mtl.analysis import (
    curvature as curvature_summary,
)
from ensemble_mtl.analysis import (
    weightings as weighting_effects,
)
from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import DataError, IncompleteStudyError, StoreError
from ensemble_mtl.core.storage import atomic
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.prepare import part_targets
from ensemble_mtl.data.split.base import Split
from ensemble_mtl.study import results
from ensemble_mtl.study.directory import Study, counts
from ensemble_mtl.study.plan import Member, is_main, label, subsets
from ensemble_mtl.study.results import MemberResult

FORMAT = 1
SKIPPED_SHOWN = 20
CSV_COLUMNS = (
    "subset", "task", "metric", "fraction", "unit", "members", "planned",
    "mean", "std", "sem", "ci95_low", "ci95_high",
)  # fmt: skip


def gather(study: Study) -> dict[str, Any]:
    """The summary of all results that ``study`` holds; JSON values, None where undefined.

    Raises:
        IncompleteStudyError: there is no graph store, so no result can be checked against it.
        StoreError: the graph store is damaged.
        DataError: a target of the configuration is not in the store.
    """
    store = load_store(study)
    _check_targets(study, store)
    found, damaged = usable_results(study, store.sha256)
    orphans = study.orphans()
    if orphans and not found and not damaged:
        raise IncompleteStudyError(
            f"{study.root}: its {len(orphans)} result(s) belong to another configuration, and none to this one; "
            "give the configuration (and --set) that they were made with, or run this one"
        )
    config, plan, states = study.config, study.members(), study.states()
    # a result that cannot be used is work to be done again
    states |= {row["id"]: "missing" for row in damaged}
    main = [member for member in plan if is_main(config, member)]
    groups = aggregates.grouped(main, [pair for pair in found if is_main(config, pair[0])])
    planned = Counter((member.subset, member.fraction) for member in main)
    units = {name: store.target_info(task.target).unit for name, task in config.tasks.items()}
    parts = split_sizes(study, store.sha256)
    overlap = parts["test"] / parts["train"] if parts and parts["train"] else 0.0
    ends = config.probes is not None and "end" in config.probes.epochs
    gains, pairs = aggregates.gains(groups, overlap), curvature_summary.pairs(groups, ends=ends)
    summary = {
        "format": FORMAT,
        "study": config.name,
        "description": config.description,
        "synthetic": bool(store.provenance.get("synthetic", False)),
        "notes": list(store.provenance.get("notes", [])),
        "complete": all(state == "done" for state in states.values()),
        "counts": counts(states),
        "tasks": _tasks(study, store),
        "subsets": [list(subset) for subset in subsets(config)],
        "fractions": list(config.fractions),
        "splits": list(config.split_seeds),
        "confidence": {"level": statistics.CONFIDENCE, "min_units": statistics.MIN_UNITS},
        "data": _data(study, store, parts),
        "cells": aggregates.cells(groups, planned, units),
        "wall_clock": aggregates.wall_clock(groups),
        "cost": aggregates.cost(groups),
        "gains": gains,
        "convergence": convergence.signs(
            groups,
            _test_spreads(study, store),
            max(config.fractions),
            annealed=getattr(registry.load("train.schedule", config.train.schedule.name), "ANNEALS", False),
        ),
        "curvature": aggregates.curvature(groups, ends=ends),
        "curvature_pairs": pairs,
        "mismatch": curvature_summary.mismatch(gains, pairs, max(config.fractions)),
        "weightings": list(config.weighting_options),
        "weighting_effects": weighting_effects.rows(plan, found, list(config.weighting_options), overlap),
        "correlations": aggregates.correlations(store, {n: t.target for n, t in config.tasks.items()}),
        "missing": [_brief(member) for member in plan if states[member.id] == "missing"],
        "failed": [_failure(study, member) for member in plan if states[member.id] == "failed"],
        "damaged": damaged,
        "provenance": _provenance([result for _, result in found], store),
    }
    finite: dict[str, Any] = _finite(summary)
    return finite


def write(study: Study, summary: dict[str, Any]) -> None:
    """Make ``summary.json`` and ``summary.csv`` (one row per cell), each atomically.

    Raises:
        OSError: the study directory cannot be written; the former files are untouched.
    """
    atomic.write_json(study.root / "summary.json", summary)
    atomic.write_text(study.root / "summary.csv", to_csv(summary))


def load(path: Path) -> dict[str, Any]:
    """A summary written earlier.

    Raises:
        IncompleteStudyError: there is none.
        StoreError: it is not a summary of this format.
    """
    try:
        summary = json.loads(path.read_text())
    except OSError:
        raise IncompleteStudyError(f"{path}: no summary yet; gather the study first") from None
    except ValueError as error:
        raise StoreError(f"{path}: not a summary ({error}); gather the study again") from None
    if not isinstance(summary, dict) or summary.get("format") != FORMAT:
        raise StoreError(f"{path}: not a summary of format {FORMAT}; gather the study again")
    return summary


def to_csv(summary: dict[str, Any]) -> str:
    """The test errors as CSV, one row per cell; an undefined number is an empty field."""
    text = io.StringIO()
    table = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for cell in summary["cells"]:
        low, high = cell["ci95"] or (None, None)
        table.writerow({**cell, "subset": label(cell["subset"]), "ci95_low": low, "ci95_high": high})
    return text.getvalue()


def load_store(study: Study) -> GraphStore:
    """The study's graph store.

    Raises:
        IncompleteStudyError: it has not been built yet.
        StoreError: it is damaged.
    """
    from ensemble_mtl.data import store

    if not study.data.exists():
        raise IncompleteStudyError(f"{study.data}: no graph store yet; expected one; run the study, or build its data")
    return store.load(study.data)


def usable_results(study: Study, data_sha256: str) -> tuple[list[aggregates.Pair], list[dict[str, Any]]]:
    """The members' results without predictions, and those that must not be used, with the reason."""
    found, damaged = [], []
    for member in study.members():
        if not study.result(member).exists():
            continue
        try:
            result = results.read(study.folder(member), predictions=False)
            _check(study, member, result, data_sha256)
        except StoreError as error:
            damaged.append({**_brief(member), "reason": _relative(study, str(error))})
        else:
            found.append((member, result))
    return found, damaged


def load_split(study: Study, seed: int, data_sha256: str) -> Split | None:
    """The split drawn with ``seed`` for the data of that hash; None if there is none to be read."""
    try:
        content = json.loads(study.split(seed).read_text())
        return Split.from_json(content["split"]) if content["data_sha256"] == data_sha256 else None
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None


def split_sizes(study: Study, data_sha256: str) -> dict[str, int] | None:
    """Graphs in each part of the study's first split; None without it."""
    split = load_split(study, study.config.split_seeds[0], data_sha256)
    return None if split is None else {part: len(indices) for part, indices in split.parts.items()}


def _test_spreads(study: Study, store: GraphStore) -> dict[tuple[str, int], float]:
    """(Task, split) to the standard deviation of its test targets; splits that cannot be read are left out."""
    splits = {seed: load_split(study, seed, store.sha256) for seed in study.config.split_seeds}
    return {
        (name, seed): float(np.nanstd(part_targets(store, task.target, split.test)))
        for name, task in study.config.tasks.items()
        for seed, split in splits.items()
        if split is not None
    }


def _check(study: Study, member: Member, result: MemberResult, data_sha256: str) -> None:
    path = study.result(member)
    if result.member.get("id") != member.id:
        raise StoreError(f"{path}: is of member {result.member.get('id')}, expected {member.id}")
    if result.data_sha256 != data_sha256:
        raise StoreError(
            f"{path}: trained on other data (store {result.data_sha256[:12]}…, this study's is {data_sha256[:12]}…); "
            "run the member again"
        )
    for task in member.subset:
        found = result.metrics.get(task, {}).get("test", {})
        absent = [metric for metric in aggregates.METRICS if not _is_number(found.get(metric))]
        if absent:
            raise StoreError(f"{path}: no finite test {', '.join(absent)} of task {task}; run the member again")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _check_targets(study: Study, store: GraphStore) -> None:
    for name, task in study.config.tasks.items():
        if task.target not in store.targets:
            known = ", ".join(store.targets)
            raise DataError(f"{study.data}: task {name}: no target {task.target!r}, expected one of {known}")


def _tasks(study: Study, store: GraphStore) -> dict[str, dict[str, str]]:
    rows = {}
    for name, task in study.config.tasks.items():
        info = store.target_info(task.target)
        shown = task.label or task.target.replace("_", " ")
        rows[name] = {"target": task.target, "label": shown, "unit": info.unit, "level": info.level}
    return rows


def _data(study: Study, store: GraphStore, parts: dict[str, int] | None) -> dict[str, Any]:
    skipped = list(store.provenance.get("skipped", []))
    return {
        "graphs": len(store),
        "skipped_count": len(skipped),
        "skipped": skipped[:SKIPPED_SHOWN],
        "sha256": store.sha256,
        "parts": parts,
        "normalize": study.config.normalize.model_dump(mode="json"),
        "split": study.config.split.name,
    }


def _provenance(found: list[MemberResult], store: GraphStore) -> dict[str, Any]:
    names = sorted({name for result in found for name in result.versions})
    return {
        "ensemble_mtl": __version__,
        "versions": {name: sorted({r.versions[name] for r in found if name in r.versions}) for name in names},
        "devices": sorted({result.device for result in found}),
        "dtypes": sorted({result.dtype for result in found}),
        "data_sha256": store.sha256,
    }


def _brief(member: Member) -> dict[str, Any]:
    return {
        "id": member.id, "subset": list(member.subset), "seed": member.seed,
        "split": member.split, "fraction": member.fraction, "weighting": member.weighting,
    }  # fmt: skip


def _failure(study: Study, member: Member) -> dict[str, Any]:
    try:
        told = json.loads(study.failure(member).read_text())
        error, attempts = str(told.get("error", "")), int(told.get("attempts", 1))
    except (OSError, ValueError, TypeError, AttributeError):
        error, attempts = f"{study.failure(member).name} cannot be read", 1
    return {**_brief(member), "error": _relative(study, error), "attempts": attempts}


def _relative(study: Study, text: str) -> str:
    """Without the study's own place: a summary says the same wherever the study lies."""
    return text.replace(f"{study.root}/", "")


def _finite(value: Any) -> Any:
    """The same value with None for NaN and infinity, which JSON lacks."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
