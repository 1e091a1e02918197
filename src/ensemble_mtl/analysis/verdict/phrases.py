"""Numbers as they stand in sentences: changes of an error in per cent with their intervals, counts, and lists."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ensemble_mtl.analysis.verdict.result import Comparison, Interval, percent

MAX_DIGITS = 3


def change(log_ratio: float, interval: Interval | None = None) -> str:
    """``−9 % [−14, −4]``: a log ratio as a change of the error in per cent, with its interval."""
    ends = None if interval is None else (percent(interval[0]), percent(interval[1]))
    digits = _digits(*ends) if ends else _digits(percent(log_ratio), percent(log_ratio))
    text = f"{signed(percent(log_ratio), digits)} %"
    return text if ends is None else f"{text} {bracket(ends, digits)}"


def changes(interval: Interval) -> str:
    """``[−14, −4]``: the ends of an interval of log ratios in per cent."""
    ends = (percent(interval[0]), percent(interval[1]))
    return bracket(ends, _digits(*ends))


def bracket(ends: tuple[float, float], digits: int) -> str:
    """``[−14, −4]`` with so many decimals."""
    return f"[{signed(ends[0], digits)}, {signed(ends[1], digits)}]"


def size(log_units: float) -> str:
    """``4.2``: a standard deviation or bound in log units as per cent, to two significant digits."""
    value = percent(log_units)
    decimals = 0 if value == 0 else min(MAX_DIGITS, max(0, 1 - math.floor(math.log10(abs(value)))))
    return f"{value:.{decimals}f}"


def share(value: float) -> str:
    """``10`` for 0.10, ``2.5`` for 0.025: a share as per cent, without trailing zeros."""
    return f"{100 * value:.4g}"


def signed(value: float, digits: int) -> str:
    """A number with its sign, ``−3`` or ``+0.4``; what rounds to nothing is 0."""
    rounded = round(value, digits)
    sign = "−" if rounded < 0 else "+" if rounded > 0 else ""
    return f"{sign}{abs(rounded):.{digits}f}"


def listing(entries: Sequence[str], shown: int = 5) -> str:
    """``3, 5 and 7``; after so many entries the number of the rest."""
    if len(entries) > shown:
        return f"{', '.join(entries[:shown])} and {len(entries) - shown} more"
    return " and ".join(filter(None, (", ".join(entries[:-1]), *entries[-1:])))


def repeats(comparison: Comparison) -> str:
    """``12 repeats``, ``12 seeds``, ``6 splits with 12 members``: what an interval rests on."""
    pairs, splits = comparison.pairs, comparison.splits
    if comparison.design == "crossed":
        return f"{splits} splits and {(pairs - len(comparison.unused)) // max(1, splits)} seeds, crossed"
    if comparison.design == "fixed splits":
        return counted(pairs, "seed" if splits == 1 else "member")
    if pairs > splits:
        return f"{splits} splits with {pairs} members"
    return counted(pairs, "split" if comparison.scope == "this initialisation" else "repeat")


def counted(number: int, noun: str) -> str:
    """``1 repeat``, ``12 repeats``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _digits(low: float, high: float) -> int:
    """Decimals that show the width of an interval, and on which side of 0 its ends lie."""
    for digits in range(MAX_DIGITS):
        wide = high - low >= 5 * 10.0**-digits or low == high
        if wide and all(round(end, digits) or not end for end in (low, high)):
            return digits
    return MAX_DIGITS
