"""Summaries that are made by hand, without a study."""

from __future__ import annotations

from typing import Any

from ensemble_mtl.analysis.summary import (
    VERSION,
    Conventions,
    Convergence,
    Counts,
    Data,
    Provenance,
    Scaling,
    Summary,
    Task,
)


def summary(**changes: Any) -> Summary:
    """Return a summary of a study of two tasks without members; ``changes`` replace fields of it."""
    fields = {
        "version": VERSION, "study": "made-by-hand", "description": "", "synthetic": False, "notes": (),
        "complete": True, "counts": Counts(done=0, running=0, failed=0, missing=0, total=0), "tasks": tasks("H", "C"),
        "subsets": (("H", "C"), ("H",), ("C",)), "fractions": (1.0,), "splits": (0,), "weightings": ("fixed",),
        "conventions": Conventions(confidence=0.95, std_ddof=1, min_units=5), "data": data(),
        "cells": (), "wall_clock": (), "cost": (), "comparisons": (),
        "convergence": Convergence(members=0, annealed=False, best_at_end=0, tasks=()),
        "curvature": (), "curvature_pairs": (), "mismatch": (), "weighting_effects": (), "correlations": (),
        "missing": (), "failed": (), "damaged": (),
        "provenance": Provenance(ensemble_mtl="1", versions={}, devices=(), dtypes=(), data_sha256="0" * 64),
    }  # fmt: skip
    return Summary(**(fields | changes))


def tasks(*names: str, **targets: str) -> dict[str, Task]:
    """Return graph tasks in Ry, by name; a target has its task's name, unless ``targets`` gives another."""
    target_of_task = dict.fromkeys(names) | targets
    return {
        name: Task(target=target or name, label=name, unit="Ry", level="graph")
        for name, target in target_of_task.items()
    }


def data(method: str = "minmax", fit_on: str = "all", graphs: int = 100) -> Data:
    """Return the data of a summary with so many graphs."""
    return Data(
        graphs=graphs, skipped_count=0, skipped=(), sha256="0" * 64, parts=None, split="random",
        normalize=Scaling(method=method, fit_on=fit_on),
    )  # fmt: skip
