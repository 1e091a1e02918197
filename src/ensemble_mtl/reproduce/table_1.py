"""Lupo Pasini 2022, Table 1: test RMSE of seven ensembles on FePt, beside those of a study.

Both in the paper and in the study, means and deviations are over 12 seeds on one split, but the two splits differ. A
cell agrees if Welch's t-test, Holm-corrected over the cells, finds no difference. The test takes only the variation
between seeds into account and not that between splits, so it is strict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import IncompleteStudyError, StudyError
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.report.table import ABSENT, Cell, Table, percent_interval, plus_minus, signed_percent
from ensemble_mtl.reproduce.base import Reproduced

if TYPE_CHECKING:
    from ensemble_mtl.analysis import multiple_tests, statistics, summary_file
    from ensemble_mtl.analysis.comparison import Verdict
    from ensemble_mtl.analysis.statistics import RelativeDifference, Spread
    from ensemble_mtl.analysis.summary import Summary
    from ensemble_mtl.report import inputs, records
    from ensemble_mtl.report.figures import table_1 as _figure
    from ensemble_mtl.study.plan import Subset
else:
    multiple_tests = lazy_import("ensemble_mtl.analysis.multiple_tests")
    statistics = lazy_import("ensemble_mtl.analysis.statistics")
    summary_file = lazy_import("ensemble_mtl.analysis.summary_file")
    inputs = lazy_import("ensemble_mtl.report.inputs")
    records = lazy_import("ensemble_mtl.report.records")
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
METHOD, FIT_ON = "minmax", "all"
"""The scaling of the paper's targets, in the words of the configuration's section ``normalize``."""

Place = tuple[str, str]
"""A cell of the table: subset and task, in the letters of the table."""


class Options(registry.Options):
    """The study that is compared with the table."""

    name: Literal["table_1"] = "table_1"
    study: Path = Field(description="Directory of the study, which must have been gathered.")


def compute(options: Options) -> Reproduced:
    """Compare the study's ``summary.json`` with the table.

    Raises:
        StudyError: there is no summary, or it is of other tasks, data or units than the table.
        StoreError: the summary is damaged, or of another version.
    """
    path = options.study / "summary.json"
    try:
        summary = summary_file.load(path)
    except IncompleteStudyError:
        text = f"{path}: no summary yet; gather the study first: ensemble-mtl gather CONFIG --out {options.study}"
        raise StudyError(text) from None
    _require_same_kind(summary, path)
    cells = compare(_errors(summary), {letter: task for task, letter in _letters(summary).items()})
    compared = sum(cell.agrees is not None for cell in cells)
    agreeing = sum(cell.agrees is True for cell in cells)
    effects = [(cell.published_effect, cell.effect) for cell in cells if cell.published_effect and cell.effect]
    same_verdicts = sum(published.verdict == effect.verdict for published, effect in effects)
    record = records.Table1Record(
        name=options.name,
        study=summary.study,
        agrees=agreeing == len(cells),
        complete=summary.complete,
        graphs=summary.data.graphs,
        epochs=_epochs(summary),
        cells=cells,
    )
    return Reproduced(
        agrees=record.agrees,
        verdict=(
            f"{agreeing} of {compared} test errors are as published within the error of the seeds, and "
            f"{same_verdicts} of {len(effects)} effects of learning together"
        ),
        tables=(_errors_table(record), _effects_table([cell for cell in cells if len(cell.subset) > 1])),
        record=record,
        figure=_figure.of_record(record, inputs.WIDE),
    )


def _require_same_kind(summary: Summary, path: Path) -> None:
    """Raise StudyError if the study's data, scaling, split or targets are not of the paper's kind."""
    scale, splits = summary.data.normalize, summary.splits
    absent = sorted({*TARGETS.values()} - {task.target for task in summary.tasks.values()})
    faults = {
        "got synthetic data, expected FePt": summary.synthetic,
        f"got targets normalised by {scale.method} over {scale.fit_on}, expected {METHOD} over {FIT_ON}": (
            (scale.method, scale.fit_on) != (METHOD, FIT_ON)
        ),
        f"got {len(splits)} splits, expected one": len(splits) != 1,
        f"got no task with the target {', '.join(absent)}, expected a task for each": bool(absent),
    }
    if present_faults := [fault for fault, is_present in faults.items() if is_present]:
        raise StudyError(f"{path}: {'; '.join(present_faults)}, as in the paper; start from configs/fept.yaml")


def _letters(summary: Summary) -> dict[str, str]:
    """The study's name of each task to the letter that the table has for it."""
    letters = {target: letter for letter, target in TARGETS.items()}
    return {task: letters[info.target] for task, info in summary.tasks.items() if info.target in letters}


def _subset(tasks: Subset, letters: Mapping[str, str]) -> str | None:
    """The subset in the letters of the table; None if it has a task that is not in the table."""
    subset = {letters.get(task) for task in tasks}
    return None if None in subset else "".join(letter for letter in TARGETS if letter in subset)


def _errors(summary: Summary) -> dict[Place, Spread]:
    """The study's scaled test RMSE in each cell of the table for which it has members."""
    letters = _letters(summary)
    return {
        (subset, letters[cell.task]): cell.error
        for cell in summary.cells
        if cell.values  # a subset may have no members yet
        and cell.metric == "rmse_scaled"
        and cell.fraction == 1.0
        and (subset := _subset(cell.subset, letters))
    }


def _epochs(summary: Summary) -> dict[str, float]:
    """Each subset, in the table's letters, to the mean number of epochs that its members trained."""
    letters = _letters(summary)
    return {
        subset: row.epochs_mean
        for row in summary.wall_clock
        if row.fraction == 1.0 and row.epochs_mean is not None and (subset := _subset(row.subset, letters))
    }


def compare(errors: Mapping[Place, Spread], names: Mapping[str, str]) -> tuple[records.Table1Cell, ...]:
    """The cells of the table, in its order.

    Args:
        errors: mean and deviation of the study's scaled test RMSE in each cell; cells may be absent.
        names: the letter of each task in the table to its name in the study.
    """
    published = {
        (subset, task): _spread(*value) for subset, cells in PUBLISHED.items() for task, value in cells.items()
    }
    differences = {place: statistics.welch(errors.get(place), spread) for place, spread in published.items()}
    corrected = _corrected({place: difference for place, difference in differences.items() if difference})
    published_effects, effects = _effects(published), _effects(errors)
    cells = []
    for place in published:
        subset, task = place
        difference, p = differences[place], corrected.get(place)
        cell = records.Table1Cell(
            subset=subset,
            task=task,
            published=(*PUBLISHED[subset][task], MEMBERS),
            found=_ensemble(errors.get(place)),
            percent=difference.percent if difference else None,
            percent_ci95=difference.ci95 if difference else None,
            p_holm=p,
            agrees=None if p is None else p >= 1 - statistics.CONFIDENCE,
            published_effect=published_effects.get(place),
            effect=effects.get(place),
            study_subset=tuple(names[letter] for letter in subset),
            study_task=names[task],
        )
        cells.append(cell)
    return tuple(cells)


def _spread(mean: float, std: float) -> Spread:
    """A published mean and deviation with standard error and interval."""
    sem = std / math.sqrt(MEMBERS)
    ends = statistics.interval(mean, sem, MEMBERS)
    return statistics.Spread(mean=mean, std=std, sem=sem, ci95=ends, members=MEMBERS)


def _ensemble(spread: Spread | None) -> records.Ensemble | None:
    return (spread.mean, spread.std, spread.members) if spread and spread.mean is not None else None


def _corrected(differences: Mapping[Place, RelativeDifference]) -> dict[Place, float]:
    """The p-values of the ``differences`` after Holm's correction over all of them."""
    p_values = [difference.p for difference in differences.values()]
    return dict(zip(differences, multiple_tests.holm(p_values), strict=True))


def _effects(errors: Mapping[Place, Spread]) -> dict[Place, records.Effect]:
    """The effect of learning together on each task, by an unpaired test, since no single members are published."""
    differences = {
        (subset, task): difference
        for subset, task in errors
        if len(subset) > 1 and (difference := statistics.welch(errors[subset, task], errors.get((task, task))))
    }
    return {
        place: records.Effect(percent=differences[place].percent, verdict=_verdict(differences[place].percent, p))
        for place, p in _corrected(differences).items()
    }


def _verdict(percent: float, p: float) -> Verdict:
    if p >= 1 - statistics.CONFIDENCE:
        return "no evidence"
    return "gains" if percent < 0 else "loses"


def _errors_table(record: records.Table1Record) -> Table:
    body = tuple(
        (
            Cell(f"{cell.task} alone" if len(cell.subset) == 1 else f"{cell.task} in {cell.subset}"),
            Cell(plus_minus(*cell.published[:2])),
            _study_error(cell),
            Cell(percent_interval(cell.percent_ci95)),
            Cell(_agreement(cell)),
            Cell(f"{record.epochs[cell.subset]:.0f}" if cell.subset in record.epochs else ABSENT),
        )
        for cell in record.cells
    )
    caption = (
        f"Study {record.study}, {record.graphs:,} graphs{'' if record.complete else ', incomplete'}. "
        "Test RMSE, targets min-max scaled to [0, 1] over all graphs: mean ± sample standard deviation (ddof 1) over "
        f"{MEMBERS} seeds on one split, not the same split there and here. Difference: 95 % interval of this study's "
        "mean over the published one, less 1. Agreement: Welch's t-test, Holm-corrected over the cells; it knows the "
        f"variance of seeds alone, and says nothing of fewer than {statistics.MIN_UNITS} members. Epochs: mean of this "
        "study's members."
    )
    header = ("Task", "Published", "This study", "Difference", "Is", "Epochs")
    return Table("Lupo Pasini 2022, Table 1", caption, header, body)


def _study_error(cell: records.Table1Cell) -> Cell:
    """Mean and deviation of the study's members."""
    if not cell.found:
        return Cell()
    mean, std, members = cell.found
    return Cell(plus_minus(mean, std), note="" if members == MEMBERS else f"(n = {members})")


def _agreement(cell: records.Table1Cell) -> str:
    """Whether the study's mean is lower, higher or equal within the error; a dash if they cannot be compared."""
    if cell.agrees is None:
        return ABSENT
    return "alike" if cell.agrees else "lower" if (cell.percent or 0.0) < 0 else "higher"


def _effects_table(cells: list[records.Table1Cell]) -> Table:
    body = tuple(
        (Cell(f"{cell.task} in {cell.subset}"), *_effect(cell.published_effect), *_effect(cell.effect))
        for cell in cells
    )
    caption = (
        "Change of the mean test RMSE against the same task alone, and Welch's t-test of it, Holm-corrected over the "
        "column. Unpaired, since of the published members only means and deviations are known; the study's own report "
        "compares matched members, which sees more."
    )
    return Table("Together against alone", caption, ("Task", "Published", "", "This study", ""), body)


def _effect(effect: records.Effect | None) -> tuple[Cell, Cell]:
    """The cells of an effect: its size and its verdict."""
    return (Cell(signed_percent(effect.percent)), Cell(effect.verdict)) if effect else (Cell(), Cell())
