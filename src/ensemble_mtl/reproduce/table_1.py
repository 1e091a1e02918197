"""Lupo Pasini 2022, Table 1: test RMSE of seven ensembles on FePt, beside those of a study.

Means and deviations are over 12 seeds on one split, there as here, and the two splits differ. A cell agrees if Welch's
t-test, Holm-corrected over the cells, finds no difference; it knows the variance of seeds alone, so it is strict.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.report.table import ABSENT, Cell, Table, percent_interval, plus_minus, signed
from ensemble_mtl.reproduce.base import Reproduced

if TYPE_CHECKING:
    from ensemble_mtl.analysis import statistics
    from ensemble_mtl.analysis.statistics import Spread
    from ensemble_mtl.report import inputs
    from ensemble_mtl.report.figures import table_1 as _figure
else:
    statistics = lazy_import("ensemble_mtl.analysis.statistics")
    inputs = lazy_import("ensemble_mtl.report.inputs")
    _figure = lazy_import("ensemble_mtl.report.figures.table_1")

SUMMARY = "Lupo Pasini 2022, Table 1: test errors of a gathered FePt study beside the published ones."
MEMBERS = 12
TARGETS = {"H": "mixing_enthalpy", "C": "charge_transfer", "M": "magnetic_moment"}
PUBLISHED = {
    "HCM": {"H": (7.54e-3, 8.70e-4), "C": (6.77e-3, 3.59e-4), "M": (1.04e-2, 4.94e-4)},
    "HC": {"H": (7.33e-3, 4.77e-4), "C": (7.36e-3, 3.23e-4)},
    "HM": {"H": (6.64e-3, 5.08e-4), "M": (1.02e-2, 5.23e-4)},
    "CM": {"C": (5.94e-3, 3.02e-4), "M": (9.30e-3, 4.12e-4)},
    "H": {"H": (1.02e-2, 1.16e-3)},
    "C": {"C": (5.94e-3, 4.39e-4)},
    "M": {"M": (8.77e-3, 3.18e-4)},
}
"""Mean and sample standard deviation over :data:`MEMBERS` seeds, in units of the target's range over all graphs."""
NORMALIZED = {"method": "minmax", "fit_on": "all"}

Row = dict[str, Any]


class Options(registry.Options):
    """Which study."""

    name: Literal["table_1"] = "table_1"
    study: Path = Field(description="Directory of the study, gathered.")


def compute(options: Options) -> Reproduced:
    """Compare the study's ``summary.json`` with the table.

    Raises:
        StudyError: there is none, or it is of other tasks or units.
    """
    path = options.study / "summary.json"
    try:
        summary = json.loads(path.read_text())
        _require_likeness(summary, path)
        rows = compare(_errors(summary))
        epochs, names = _epochs(summary), {letter: task for task, letter in _letters(summary).items()}
    except OSError as error:
        text = f"{path}: {error.strerror}; gather the study first: ensemble-mtl gather CONFIG --out {options.study}"
        raise StudyError(text) from None
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path}: no summary of a study ({error!r}); gather the study anew") from None
    known = [row for row in rows if row["agrees"] is not None]
    alike = sum(row["agrees"] for row in known)
    effects = [row for row in rows if row["published_effect"] and row["effect"]]
    same = sum(row["published_effect"]["verdict"] == row["effect"]["verdict"] for row in effects)
    agrees = alike == len(rows)
    record = {
        "name": options.name,
        "study": summary["study"],
        "agrees": agrees,
        "complete": summary["complete"],
        "graphs": summary["data"]["graphs"],
        "epochs": epochs,
        "cells": [
            {**row, "study_subset": [names[task] for task in row["subset"]], "study_task": names[row["task"]]}
            for row in rows
        ],
    }
    return Reproduced(
        agrees=agrees,
        verdict=(
            f"{alike} of {len(known)} test errors are as published within the error of the seeds, and "
            f"{same} of {len(effects)} effects of learning together"
        ),
        tables=(_errors_table(record), _effects_table([row for row in rows if len(row["subset"]) > 1])),
        record=record,
        figure=_figure.of_record(record, inputs.WIDE),
    )


def _require_likeness(summary: Mapping[str, Any], path: Path) -> None:
    """Raise StudyError where the numbers are not of the table's kind."""
    normalize, splits = summary["data"]["normalize"], summary["splits"]
    targets = {info["target"] for info in summary["tasks"].values()}
    faults = {
        "got synthetic data, expected FePt": summary["synthetic"],
        f"got targets normalised by {normalize}, expected {NORMALIZED}": normalize != NORMALIZED,
        f"got {len(splits)} splits, expected one": len(splits) != 1,
        f"no task has the target {', '.join(sorted({*TARGETS.values()} - targets))}": not {*TARGETS.values()}
        <= targets,
    }
    if found := [fault for fault, there in faults.items() if there]:
        raise StudyError(f"{path}: {'; '.join(found)}, as in the paper; start from configs/fept.yaml")


def _letters(summary: Mapping[str, Any]) -> dict[str, str]:
    """The study's names of tasks to the table's."""
    letters = {target: letter for letter, target in TARGETS.items()}
    return {task: letters[info["target"]] for task, info in summary["tasks"].items() if info["target"] in letters}


def _subset(tasks: Sequence[str], letters: Mapping[str, str]) -> str | None:
    """As the table calls it; None if it has other tasks."""
    found = {letters.get(task) for task in tasks}
    return None if None in found else "".join(letter for letter in TARGETS if letter in found)


def _errors(summary: Mapping[str, Any]) -> dict[tuple[str, str], Spread]:
    """(subset, task), in the table's letters, to the study's scaled test RMSE."""
    letters = _letters(summary)
    return {
        (subset, letters[cell["task"]]): statistics.spread(cell["values"])
        for cell in summary["cells"]
        if cell["values"]  # a subset may have no members yet
        and cell["metric"] == "rmse_scaled"
        and cell["fraction"] == 1.0
        and (subset := _subset(cell["subset"], letters))
    }


def _epochs(summary: Mapping[str, Any]) -> dict[str, float]:
    """Subset to the mean number of epochs that its members trained."""
    letters = _letters(summary)
    return {
        subset: row["epochs_mean"]
        for row in summary["wall_clock"]
        if row["fraction"] == 1.0 and row["members"] and (subset := _subset(row["subset"], letters))
    }


def compare(errors: Mapping[tuple[str, str], Spread]) -> list[Row]:
    """One row per cell of the table, in its order.

    Args:
        errors: (subset, task) to mean and deviation of the scaled test RMSE; cells may be absent.
    """
    published = {
        (subset, task): _spread(*value) for subset, cells in PUBLISHED.items() for task, value in cells.items()
    }
    differences = {cell: statistics.welch(errors.get(cell), spread) for cell, spread in published.items()}
    corrected = _corrected({cell: found for cell, found in differences.items() if found})
    effects = [_effects(found) for found in (published, errors)]
    rows = []
    for (subset, task), spread in published.items():
        own, found, p = errors.get((subset, task)), differences[subset, task], corrected.get((subset, task))
        row: Row = {"subset": subset, "task": task, "published": [spread.mean, spread.std, spread.members]}
        row["found"] = [own.mean, own.std, own.members] if own else None
        row["percent"], row["percent_ci95"] = (found[0], list(found[1])) if found else (None, None)
        row["p_holm"], row["agrees"] = p, None if p is None else p >= 1 - statistics.CONFIDENCE
        row["published_effect"], row["effect"] = (of.get((subset, task)) for of in effects)
        rows.append(row)
    return rows


def _spread(mean: float, std: float) -> Spread:
    sem = std / math.sqrt(MEMBERS)
    return statistics.Spread(mean, std, sem, statistics.interval(mean, sem, MEMBERS), MEMBERS)


def _corrected(found: Mapping[Any, tuple[float, tuple[float, float], float]]) -> dict[Any, float]:
    return dict(zip(found, statistics.holm([p for *_, p in found.values()]), strict=True))


def _effects(errors: Mapping[tuple[str, str], Spread]) -> dict[tuple[str, str], Row]:
    """What learning together does to each task, unpaired, since of the published members only means are known."""
    found = {
        (subset, task): effect
        for subset, task in errors
        if len(subset) > 1 and (effect := statistics.welch(errors[subset, task], errors.get((task, task))))
    }
    verdicts = {
        cell: "no evidence" if p >= 1 - statistics.CONFIDENCE else "gains" if found[cell][0] < 0 else "loses"
        for cell, p in _corrected(found).items()
    }
    return {cell: {"percent": found[cell][0], "verdict": verdict} for cell, verdict in verdicts.items()}


def _errors_table(record: Row) -> Table:
    def own(row: Row) -> Cell:
        if not row["found"]:
            return Cell()
        mean, std, members = row["found"]
        return Cell(plus_minus(mean, std), note="" if members == MEMBERS else f"(n = {members})")

    def agreement(row: Row) -> str:
        if row["agrees"] is None:
            return ABSENT
        return "alike" if row["agrees"] else "lower" if row["percent"] < 0 else "higher"

    body = tuple(
        (
            Cell(f"{row['task']} alone" if len(row["subset"]) == 1 else f"{row['task']} in {row['subset']}"),
            Cell(plus_minus(*row["published"][:2])),
            own(row),
            Cell(percent_interval(row["percent_ci95"])),
            Cell(agreement(row)),
            Cell(f"{record['epochs'][row['subset']]:.0f}" if row["subset"] in record["epochs"] else ABSENT),
        )
        for row in record["cells"]
    )
    caption = (
        f"Study {record['study']}, {record['graphs']:,} graphs{'' if record['complete'] else ', incomplete'}. "
        "Test RMSE, targets min-max scaled to [0, 1] over all graphs: mean ± sample standard deviation (ddof 1) over "
        f"{MEMBERS} seeds on one split, not the same split there and here. Difference: 95 % interval of this study's "
        "mean over the published one, less 1. Agreement: Welch's t-test, Holm-corrected over the cells; it knows the "
        f"variance of seeds alone, and says nothing of fewer than {statistics.MIN_UNITS} members. Epochs: mean of this "
        "study's members."
    )
    header = ("Task", "Published", "This study", "Difference", "Is", "Epochs")
    return Table("Lupo Pasini 2022, Table 1", caption, header, body)


def _effects_table(rows: list[Row]) -> Table:
    def effect(found: Row | None) -> tuple[Cell, Cell]:
        return (Cell(f"{signed(found['percent'])} %"), Cell(found["verdict"])) if found else (Cell(), Cell())

    body = tuple(
        (Cell(f"{row['task']} in {row['subset']}"), *effect(row["published_effect"]), *effect(row["effect"]))
        for row in rows
    )
    caption = (
        "Change of the mean test RMSE against the same task alone, and Welch's t-test of it, Holm-corrected over the "
        "column. Unpaired, since of the published members only means and deviations are known; the study's own report "
        "compares matched members, which sees more."
    )
    return Table("Together against alone", caption, ("Task", "Published", "", "This study", ""), body)
