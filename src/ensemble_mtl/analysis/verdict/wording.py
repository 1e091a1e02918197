"""Verdicts on comparisons as sentences of plain text, each with its interval and what it holds for."""

from __future__ import annotations

import math

from ensemble_mtl.analysis.verdict.judgement import MIN_UNITS
from ensemble_mtl.analysis.verdict.pairs import MIN_SPLITS
from ensemble_mtl.analysis.verdict.phrases import change, changes, counted, listing, repeats, share, size
from ensemble_mtl.analysis.verdict.planning import MAX_REPEATS
from ensemble_mtl.analysis.verdict.result import Comparison

ADVISED_REPEATS = 12


def headline(task: str, partners: str, comparison: Comparison) -> str:
    """The verdict on a task that is learned together with partners, in a sentence.

    Args:
        task: its name.
        partners: names of the other tasks of the subset, as they are to be read.
        comparison: the result.
    """
    words = {"gains": f"{task} gains from {partners}", "loses": f"{task} loses with {partners}"}
    if comparison.verdict in words:
        extent = f", by less than {share(comparison.terms.margin)} %" if comparison.within_margin else ""
        claim = f"{words[comparison.verdict]}{_where(comparison)}{extent}"
        return f"{claim}: error {_numbers(comparison)}{_beyond(comparison)}"
    name = f"{task} with {partners}"
    if comparison.verdict == "too few":
        return f"{name}: {_too_few(comparison)}"
    if comparison.verdict == "same":
        margin = share(comparison.terms.margin)
        return f"{name}{_where(comparison)}: same within {margin} %: {_numbers(comparison)}{_either_way(comparison)}"
    if comparison.verdict == "undecided":
        return f"{name}{_where(comparison)}: undecided: {_numbers(comparison)}{_would_find(comparison)}"
    state = "" if comparison.complete else f"interim, {comparison.pairs} of {comparison.planned}: "
    return f"{name}{_where(comparison)}: {state}{_numbers(comparison)}"


def new_data(comparison: Comparison) -> str | None:
    """What the second interval says of new data; None where no splits show it."""
    if comparison.new_data is None:
        return None
    ends = changes(comparison.new_data.interval)
    if comparison.new_data.expected:
        return f"also expected of new data from the same source {ends}"
    return f"for new data from the same source not shown {ends}"


def remarks(comparison: Comparison) -> tuple[str, ...]:
    """What a reader of the verdict must be told besides, one sentence each; often none."""
    lines = []
    if comparison.dropped:
        lines.append(f"{len(comparison.dropped)} of {counted(comparison.planned, 'repeat')} without a pair")
    if comparison.unused:
        lines.append(f"{counted(len(comparison.unused), 'pair')} left out, whose seeds are not on every split")
    if comparison.hangs_on:
        names = _hanging(comparison)
        each, without = ("each of ", "any of them") if len(names) > 1 else ("", "it")
        lines.append(f"hangs on {each}{listing(names)}: without {without} the verdict does not stand")
    if comparison.interaction_limit is not None:
        sd = ""
        if comparison.splits >= MIN_SPLITS and comparison.interaction_sd is not None:
            sd = f"by {size(comparison.interaction_sd)} % (sd), "
        lines.append(
            f"splits change the difference {sd}by at most {size(comparison.interaction_limit)} % (sd, 95 % limit)"
        )
    if (
        comparison.arithmetic is not None
        and comparison.mean is not None
        and comparison.arithmetic * comparison.mean < 0
    ):
        ratio = change(math.log1p(comparison.arithmetic))
        lines.append(f"the arithmetic means differ the other way ({ratio}), because large errors weigh more in them")
    if comparison.borrowed_df:
        lines.append(
            f"spread shared with the task's other comparisons ({comparison.borrowed_df:.1f} degrees of freedom)"
        )
    return tuple(lines)


def _where(comparison: Comparison) -> str:
    if comparison.scope == "this split":
        return " on this split"
    if comparison.scope == "these splits":
        return f" on these {comparison.splits} splits"
    return ""


def _numbers(comparison: Comparison) -> str:
    """Change of the error with its interval, what it holds for, what it rests on, and how sure it is."""
    if comparison.mean is None:
        return "no pair of members"
    if comparison.interval is None:
        return f"{change(comparison.mean)} ({repeats(comparison)}; no interval)"
    scope = {
        "other random splits": " on other random splits of these data",
        "this initialisation": " on other random splits of these data, with this initialisation",
    }.get(comparison.scope, "")
    together = (
        f" for all {comparison.terms.comparisons} comparisons together" if comparison.terms.comparisons > 1 else ""
    )
    confidence = (
        f"{share(1 - comparison.level)} %{together}; family-wise {share(1 - comparison.terms.alpha)} % over all looks"
    )
    return f"{change(comparison.mean, comparison.interval)}{scope} ({repeats(comparison)}; {confidence})"


def _beyond(comparison: Comparison) -> str:
    """What a gain or loss on a few splits is worth beyond them."""
    if comparison.overturning_sd is None:
        return ""
    limit = size(comparison.overturning_sd)
    return (
        f". Not shown for other splits: void if splits change the difference by more than {limit} % (sd). "
        f"repeats: {max(ADVISED_REPEATS, comparison.pairs)} {_cost(comparison)} would tell"
    )


def _cost(comparison: Comparison) -> str:
    return "at the same cost" if comparison.pairs >= ADVISED_REPEATS else "with a split each"


def _either_way(comparison: Comparison) -> str:
    """The one-sided bound, where the two-sided interval is wider than the margin that was tested with it."""
    if comparison.interval is None or comparison.mean is None or comparison.critical_same is None or not comparison.se:
        return ""
    if max(abs(end) for end in comparison.interval) < math.log1p(comparison.terms.margin):
        return ""
    return f", at most {size(abs(comparison.mean) + comparison.critical_same * comparison.se)} % either way (one-sided)"


def _would_find(comparison: Comparison) -> str:
    """The gain that so many repeats find, and the repeats that would find a gain of the margin."""
    if comparison.no_spread:
        return "; all differences are equal, so no test applies"
    if comparison.detectable_effect is None:
        return ""
    text = f"; {repeats(comparison)} find a gain of {size_of_gain(comparison.detectable_effect)} % or more"
    margin, needed = comparison.terms.margin, comparison.repeats_needed
    if not margin or (needed is not None and needed <= comparison.units):
        return text
    if needed is None:
        spread = size((comparison.se or 0.0) * math.sqrt(comparison.units))
        return (
            f"{text}; not by more repeats (over {MAX_REPEATS}): the spread of {spread} % between repeats is the problem"
        )
    return f"{text}; for {share(margin)} %: {needed} repeats"


def size_of_gain(effect: float) -> str:
    """A detectable effect as the gain in per cent that it stands for: ``100 (1 − exp(−effect))``."""
    value = -100 * math.expm1(-effect)
    return f"{value:.{0 if value >= 10 else 1}f}"


def _too_few(comparison: Comparison) -> str:
    if comparison.units and comparison.mean == 0 and comparison.no_spread:
        return f"too few repeats differ: all {comparison.pairs} differences are 0"
    if comparison.units >= MIN_UNITS:
        return f"too few repeats: {repeats(comparison)}, and a split with a single one, so no interval"
    text = f"too few repeats ({comparison.units}; a verdict needs {MIN_UNITS}, this design {comparison.planned})"
    if comparison.mean is None:
        return text
    return f"{text}: {change(comparison.mean, comparison.interval)}{_where(comparison)}"


def _hanging(comparison: Comparison) -> list[str]:
    names = []
    for split, seed in comparison.hangs_on:
        if split is None or (comparison.scope == "this split" and seed is not None):
            names.append(f"seed {seed}")
        elif seed is None or comparison.scope == "this initialisation":
            names.append(f"split {split}")
        elif comparison.design == "fixed splits":
            names.append(f"seed {seed} of split {split}")
        else:
            names.append(f"repeat {split}")
    return names
