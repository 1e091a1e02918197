"""Comparison of a task learned together with the task learned alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ensemble_mtl.analysis.verdict.borrowing import Prior, task_prior, with_prior
from ensemble_mtl.analysis.verdict.estimate import Estimate, Unit, estimate, units_of
from ensemble_mtl.analysis.verdict.judgement import Judgement, Verdict, judge, new_data_interval
from ensemble_mtl.analysis.verdict.pairs import (
    MIN_SPLITS,
    Design,
    Errors,
    Grid,
    Key,
    Pairs,
    design_of,
    grid,
    paired,
    scope_of,
)
from ensemble_mtl.analysis.verdict.planning import detectable_effect, repeats_needed
from ensemble_mtl.analysis.verdict.result import Comparison, NewData
from ensemble_mtl.analysis.verdict.stability import hangs_on, interaction, overturning_sd
from ensemble_mtl.analysis.verdict.terms import Terms


@dataclass(frozen=True)
class Setting:
    """Circumstances of a comparison that its errors do not show.

    Attributes:
        planned: (split, seed) of the plan's repeats; empty: those that have a result.
        overlap: ``n_test / n_train`` counted in labels of the task; None: no interval for new data.
        shared_initial_values: whether a seed gives the same initial values on every split (studies of an old kind).
        complete: whether all planned members are done or given up; before, no verdict is given.
        in_family: whether a verdict may be given at all: at the largest fraction, in the declared metric.
    """

    planned: tuple[Key, ...] = ()
    overlap: float | None = None
    shared_initial_values: bool = False
    complete: bool = True
    in_family: bool = True


def compare(
    multi: Errors, single: Errors, terms: Terms, setting: Setting | None = None, prior: Prior | None = None
) -> Comparison:
    """Compare one task's errors in a multi-task ensemble with those of its single-task one.

    Args:
        multi: error by (split, seed) of the multi-task members.
        single: the same of the single-task members; keys in both are compared.
        terms: number of comparisons, margin, error rate and look of the family.
        setting: circumstances that the errors do not show.
        prior: spread borrowed from the task's other comparisons (:func:`compare_task`); None: the option is off.
    """
    setting = setting or Setting()
    pairs = paired(multi, single, setting.planned)
    design = design_of(tuple(pairs.log_ratios), setting.shared_initial_values)
    table = grid(pairs.log_ratios, design)
    estimated = estimate(table.values, design)
    if prior is not None:
        estimated = with_prior(estimated, prior)
    judgement = judge(estimated, terms)
    low, high = _number(judgement.low), _number(judgement.high)
    needed, fixed = _number(repeats_needed(estimated, terms)), design == "fixed splits"
    # Seeds that are common to all splits are no independent members within them.
    between = None if design == "crossed" else interaction(table.values)
    return Comparison(
        verdict=cast("Verdict", str(judgement.verdict)) if setting.complete and setting.in_family else None,
        within_margin=bool(judgement.within_margin),
        scope=scope_of(tuple(pairs.log_ratios), setting.shared_initial_values), design=design,
        interval=None if low is None or high is None else (low, high),
        new_data=_new_data(estimated, judgement, pairs, setting.overlap), units=int(estimated.units),
        level=terms.level, terms=terms, pairs=len(pairs.log_ratios), splits=len(pairs.splits), seeds=len(pairs.seeds),
        planned=len(pairs.log_ratios) + len(pairs.dropped), dropped=pairs.dropped, unused=table.unused,
        complete=setting.complete, no_spread=bool(estimated.no_spread),
        hangs_on=_hanging(table, design, judgement, terms, prior), arithmetic=pairs.arithmetic,
        borrowed_df=0.0 if prior is None else float(prior.df), mean=_number(estimated.mean), se=_number(estimated.se),
        df=_number(estimated.df), split_spread=_number(estimated.split_spread), critical=_number(judgement.critical),
        critical_same=_number(judgement.critical_same), p=_number(judgement.p),
        p_adjusted=_number(judgement.p_adjusted),
        detectable_effect=_number(detectable_effect(judgement.critical, estimated.df, estimated.se)),
        repeats_needed=None if needed is None else int(needed),
        overturning_sd=_number(overturning_sd(estimated, judgement, len(table.keys))) if fixed else None,
        interaction_sd=None if between is None else _number(between.sd),
        interaction_limit=None if between is None else _number(between.limit),
    )  # fmt: skip


def compare_task(
    multi: Sequence[Errors], single: Errors, terms: Terms, setting: Setting | None = None, *, borrow: bool = False
) -> tuple[Comparison, ...]:
    """Compare one task's errors in several multi-task ensembles with those of its single-task one.

    Args:
        multi: per subset, error by (split, seed).
        single: error by (split, seed) of the single-task members.
        terms: number of comparisons, margin, error rate and look of the family.
        setting: circumstances that the errors do not show.
        borrow: let the comparisons share what they know of their spread (``borrowing``).
    """
    setting = setting or Setting()
    prior = None
    if borrow:
        ratios: list[Mapping[Key, float]] = [paired(errors, single).log_ratios for errors in multi]
        keys = [key for mapping in ratios for key in mapping]
        prior = task_prior(ratios, design_of(set(keys), setting.shared_initial_values))
    return tuple(compare(errors, single, terms, setting, prior) for errors in multi)


def _new_data(estimated: Estimate, judgement: Judgement, pairs: Pairs, overlap: float | None) -> NewData | None:
    if overlap is None or len(pairs.splits) < MIN_SPLITS:
        return None
    low, high = map(_number, new_data_interval(estimated, judgement, overlap))
    if low is None or high is None:
        return None
    return NewData(overlap=overlap, interval=(low, high), expected=low > 0 or high < 0)


def _hanging(table: Grid, design: Design, judgement: Judgement, terms: Terms, prior: Prior | None) -> tuple[Unit, ...]:
    """Units that undo the verdict, as (split, seed) and not as places in the table."""
    if judgement.verdict not in ("gains", "loses"):
        return ()
    undone = hangs_on(table.values, design, terms, judgement, prior)
    places = [unit for unit, undoes in zip(units_of(table.values, design), undone, strict=True) if undoes]
    return tuple(_named(unit, table) for unit in places)


def _named(unit: Unit, table: Grid) -> Unit:
    split, member = unit
    row = table.keys[split or 0]
    if member is not None:
        return (None if split is None else row[member][0], row[member][1])
    return (row[0][0], row[0][1] if len(row) == 1 else None)


def _number(value: Any) -> float | None:
    """A finite float, or None."""
    number = float(value)
    return number if math.isfinite(number) else None
