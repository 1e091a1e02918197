"""Predicted beside true values of the test part, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.core.errors import StoreError, StudyError
from ensemble_mtl.data import prepare
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.graph import FloatArray, IntArray
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.member_results import load_result
from ensemble_mtl.study.plan import Member


@dataclass(frozen=True)
class Predictions:
    """What one member predicts of one task for the test part, beside the true values.

    There are n rows, one per label: a row is a graph if the target is a property of graphs, and a node (an atom) if it
    is a property of nodes. Rows without a label, or with a prediction that is not finite, are left out.

    Attributes:
        unit: the physical unit of ``true`` and ``predicted``; empty for a pure number.
        level: ``graph`` or ``node``, which says what a row is.
        graphs: ``[G]`` names of all graphs of the test part.
        graph: ``[n]`` index into ``graphs``: the graph that each row belongs to.
        true: ``[n]`` values of the data.
        predicted: ``[n]`` values that the member predicts.
    """

    unit: str
    level: str
    graphs: tuple[str, ...]
    graph: IntArray
    true: FloatArray
    predicted: FloatArray


def predictions(study: Study, member: Member) -> dict[str, Predictions]:
    """Return, for each task that one member learns, predicted and true values of the test part.

    Args:
        study: the study.
        member: one of its members, with a result.

    Raises:
        IncompleteStudyError: the member has no result yet.
        StudyError: the data are not those that the member was trained on.
        StoreError: the result or the data are damaged.
        DataError: the split is missing or damaged.
    """
    result = load_result(study, member)
    prepared = prepare.load(study, member.split)
    if result.data_sha256 != prepared.store.sha256:
        raise StudyError(
            f"{study.result(member)}: trained on other data ({result.data_sha256[:12]}) than {study.data} now holds "
            f"({prepared.store.sha256[:12]}); restore the former data"
        )
    targets = {task: study.config.tasks[task].target for task in member.subset}
    pairs = paired_with_truth(prepared.store, prepared.split.test, targets, result.predictions)
    if missing := [task for task in targets if task not in pairs]:
        raise StoreError(
            f"{study.folder(member) / 'result.bp'}: its predictions of {', '.join(missing)} are not of the "
            f"{len(prepared.split.test)} test graphs of {study.split(member.split)}; run the member again"
        )
    return pairs


def paired_with_truth(
    store: GraphStore, test: IntArray, targets: Mapping[str, str], predicted: Mapping[str, NDArray[np.floating]]
) -> dict[str, Predictions]:
    """Put predictions of the test part beside the true values.

    Args:
        store: the data set, with T test graphs.
        test: ``[T]`` indices of the test graphs.
        targets: task -> name of its target in the data set.
        predicted: task -> a value per row of the target, for the test graphs in the order of ``test``.

    Returns:
        task -> its rows. A task is left out if it has no predictions, or as many as do not fit the test graphs: a wrong
        pairing would be worse than none.
    """
    names = tuple(store.names[graph] for graph in test)
    pairs = {}
    for task, target in targets.items():
        if task not in predicted or not len(test):
            continue
        true, info = prepare.part_targets(store, target, test), store.target_info(target)
        values = np.asarray(predicted[task], dtype=np.float64)
        if true.shape != values.shape:
            continue
        rows = np.ones(len(test), dtype=np.int64) if info.level == "graph" else np.diff(store.node_ptr)[test]
        graph = np.repeat(np.arange(len(test)), rows)
        finite = np.isfinite(true) & np.isfinite(values)
        pairs[task] = Predictions(info.unit, info.level, names, graph[finite], true[finite], values[finite])
    return pairs
