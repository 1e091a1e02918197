"""What figures draw from: the summary, and the study's files, each read when first asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ensemble_mtl.analysis import aggregates, gather
from ensemble_mtl.data import prepare
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.graph import FloatArray, IntArray
from ensemble_mtl.study import results
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member, Subset, is_main
from ensemble_mtl.study.results import MemberResult, ProbeResult

History = list[dict[str, Any]]


@dataclass(frozen=True)
class Layout:
    """How a figure is laid out: side by side for a screen or a projector, one column for a phone."""

    columns: int
    width: float
    """Width of a figure, in inches."""


WIDE = Layout(columns=3, width=10.5)
NARROW = Layout(columns=1, width=4.6)


@dataclass(frozen=True)
class ReportInputs:
    """Everything a figure may show; drawing neither writes nor computes statistics anew.

    Attributes:
        study: the study directory.
        summary: what :func:`ensemble_mtl.analysis.gather.gather` returned for it.
    """

    study: Study
    summary: dict[str, Any]

    @property
    def tasks(self) -> list[str]:
        """Task names in the configuration's order."""
        return list(self.summary["tasks"])

    @property
    def subsets(self) -> list[Subset]:
        """Subsets in plan order."""
        return [tuple(subset) for subset in self.summary["subsets"]]

    @property
    def fraction(self) -> float:
        """The largest training fraction; figures of single members show this one."""
        return float(max(self.summary["fractions"]))

    @property
    def synthetic(self) -> bool:
        """Whether the numbers come from a model and not from nature or first principles."""
        return bool(self.summary["synthetic"])

    @cached_property
    def store(self) -> GraphStore:
        """The graph store."""
        return gather.load_store(self.study)

    @cached_property
    def members(self) -> dict[Subset, list[tuple[Member, MemberResult]]]:
        """Usable results at the largest fraction by subset, of the main weighting, without predictions; plan order."""
        found, _ = gather.usable_results(self.study, self.summary["data"]["sha256"])
        grouped: dict[Subset, list[tuple[Member, MemberResult]]] = {subset: [] for subset in self.subsets}
        for member, result in found:
            if member.fraction == self.fraction and is_main(self.study.config, member):
                grouped[member.subset].append((member, result))
        return grouped

    @cached_property
    def histories(self) -> dict[Subset, list[History]]:
        """Readable histories of the same members."""
        return {
            subset: [history for member, _ in pairs if (history := self.history(member))]
            for subset, pairs in self.members.items()
        }

    @property
    def largest(self) -> Subset | None:
        """The largest subset that has a result."""
        done = [subset for subset in self.subsets if self.members[subset]]
        return max(done, key=len, default=None)

    def typical(self, subset: Subset) -> Member:
        """The member of median test error (mean over its tasks, scaled): neither the best nor the worst."""

        def error(pair: tuple[Member, MemberResult]) -> float:
            return float(np.mean([pair[1].metrics[task]["test"][aggregates.COMPARED] for task in subset]))

        ordered = sorted(self.members[subset], key=error)
        return ordered[(len(ordered) - 1) // 2][0]

    def parity(self, member: Member) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Task -> (true, predicted) test values in physical units; missing labels left out."""
        test = self._test_graphs(member.split)
        predictions = results.read(self.study.folder(member)).predictions
        pairs = {}
        for task in member.subset:
            if task not in predictions or not len(test):
                continue
            true = prepare.part_targets(self.store, self.summary["tasks"][task]["target"], test)
            predicted = np.asarray(predictions[task], dtype=np.float64)
            if true.shape != predicted.shape:
                continue  # not of this split; a wrong pairing would be worse than none
            known = np.isfinite(true) & np.isfinite(predicted)
            pairs[task] = (true[known], predicted[known])
        return pairs

    def target(self, task: str, *, total: bool = False) -> FloatArray:
        """``[G]`` one value per graph; a node target averaged or, with ``total``, summed."""
        return aggregates.graph_values(self.store, self.summary["tasks"][task]["target"], total=total)

    def is_conserved(self, task: str) -> bool:
        """Whether the task's sum over a graph is the same for all graphs."""
        return aggregates.is_conserved(self.store, self.summary["tasks"][task]["target"])

    def history(self, member: Member) -> History:
        """The member's lines of ``metrics.jsonl``; none if they cannot be read."""
        try:
            lines = self.study.metrics(member).read_text().splitlines()
            rows = [json.loads(line) for line in lines if line.strip()]
            # a resumed member may have written an epoch twice; the later line counts
            return [row for _, row in sorted({int(row["epoch"]): row for row in rows}.items())]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def probes(self, subset: Subset, task: str) -> dict[int | str, list[ProbeResult]]:
        """Probes of the subset's members by epoch; the members' last ones under ``"end"``."""
        config = self.study.config.probes
        ends = config is not None and "end" in config.epochs
        by_epoch: dict[int | str, list[ProbeResult]] = {}
        for _, result in self.members[subset]:
            for epoch, probe in aggregates.labelled(result, task, ends=ends):
                by_epoch.setdefault(epoch, []).append(probe)
        return by_epoch

    def quantity(self, task: str) -> str:
        """Axis text: the task's label with its physical unit."""
        info = self.summary["tasks"][task]
        return f"{info['label']} ({info['unit']})" if info["unit"] else str(info["label"])

    def _test_graphs(self, split: int) -> IntArray:
        found = gather.load_split(self.study, split, self.summary["data"]["sha256"])
        return np.zeros(0, dtype=np.int64) if found is None else found.test
