"""Signs that the training was not over, in plain words beside the verdict."""

from __future__ import annotations

from typing import Any


def doubts(summary: dict[str, Any]) -> list[str]:
    """One sentence or two per sign; none if there is none."""
    found = summary["convergence"]
    return [*_no_better(found["tasks"]), *_longer(found["tasks"]), *_at_end(found)]


def _no_better(tasks: list[dict[str, Any]]) -> list[str]:
    return [
        f"{row['no_better']} of {row['members']} members predict {row['task']} no better than a constant does: "
        "comparisons of it say little."
        for row in tasks
        if row["no_better"]
    ]


def _longer(tasks: list[dict[str, Any]]) -> list[str]:
    falling = [row for row in tasks if row["verdict"] == "falling"]
    if not falling:
        return []
    told = ", ".join(f"{row['task']} {row['spearman']:.2f}".replace("-", "−") for row in falling)
    return [
        "Where early stopping let members train longer, their errors are smaller (Spearman's ρ of epochs and test "
        f"error within a subset: {told}). So the errors tell of when training was stopped, too. A learning rate that "
        "falls (train.schedule: plateau) or more patience (train.early_stopping) would tell more."
    ]


def _at_end(found: dict[str, Any]) -> list[str]:
    count = found["best_at_end"]
    if not count:
        return []
    told = f"{count} of {found['members']} members had their lowest validation loss in the very last epoch"
    if found["annealed"]:
        return [
            f"{told}, as is to be expected where the learning rate falls until then (train.schedule). Whether more "
            "epochs (train.epochs) would have made errors smaller, only a longer run can tell."
        ]
    return [f"{told}: with more of them (train.epochs) errors may be smaller, and compare otherwise."]
