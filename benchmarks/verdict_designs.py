"""Rows A and B: error rates and power of each design."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.verdict_studies import (
    LEVEL,
    Design,
    Generator,
    Line,
    any_false,
    at_level,
    line,
    log_ratios,
)
from ensemble_mtl.analysis.verdict.estimate import estimate, on_fixed_splits
from ensemble_mtl.analysis.verdict.judgement import judge
from ensemble_mtl.analysis.verdict.pairs import scope_of
from ensemble_mtl.analysis.verdict.stability import interaction

GAIN = math.log(0.9)
SIZES = {3: 4000, 4: 2000, 5: 1000}


def a1(random: Generator, scale: float) -> list[Line]:
    """False verdicts of the default design."""
    lines = []
    for (tasks, replicates), seen, high in zip(
        SIZES.items(), (".037", ".038", ".026"), (0.050, 0.054, 0.059), strict=True
    ):
        false = any_false(random, Design(tasks=tasks), round(scale * replicates))
        lines.append(line("A1", f"12 × 1 without effects, any false verdict, T = {tasks}", false, seen, high=high))
    return lines


def a2(random: Generator, scale: float) -> list[Line]:
    """False verdicts with fewer and more repeats."""
    return [
        line(
            "A2",
            f"{splits} × 1 without effects",
            any_false(random, Design(splits=splits), round(scale * 4000)),
            seen,
            high=0.050,
        )
        for splits, seen in ((5, ".039"), (24, ".036"))
    ]


def a3(random: Generator, scale: float) -> list[Line]:
    """Power for a gain of 10 % in a single comparison."""
    cases = [
        (3, 12, ".854", 0.835, 0.875),
        (4, 12, ".699", 0.665, 0.735),
        (5, 12, ".520", 0.47, 0.57),
        (3, 5, ".136", 0.115, 0.16),
        (3, 24, ".999", 0.99, 1.0),
    ]
    lines = []
    for tasks, splits, seen, low, high in cases:
        design = Design(tasks=tasks, splits=splits)
        place = design.comparisons.index(((0, 2), 0))
        effects = np.zeros(len(design.comparisons))
        effects[place] = GAIN
        ratios = log_ratios(random, design, round(scale * SIZES[tasks]), effects)
        judgement = judge(estimate(ratios, "across splits"), at_level(LEVEL, len(effects)))
        gains = judgement.verdict[:, place] == "gains"
        lines.append(line("A3", f"−10 % for H in HM is a gain, n = {splits}, T = {tasks}", gains, seen, low, high))
    return lines


def a4(random: Generator, scale: float) -> list[Line]:
    """Coverage of the interval of a comparison by itself."""
    judgement = judge(estimate(log_ratios(random, Design(), round(scale * 4000)), "across splits"), at_level(0.05, 1))
    inside = (judgement.low <= 0) & (judgement.high >= 0)
    return [line("A4", "12 × 1, interval of a comparison at 95 % by itself covers", inside, ".950", 0.945, 0.955)]


def b1(random: Generator, scale: float) -> list[Line]:
    """What verdicts on a single split are worth for other splits."""
    design = Design(splits=1, seeds=12)
    scope = scope_of(design.keys)
    false = any_false(random, design, round(scale * 4000))
    condition = f"1 × 12 read as of other splits (the procedure says “{scope}”), any false verdict"
    return [line("B1", condition, false, ".441", 0.41, 0.47)]


def b2(random: Generator, scale: float) -> list[Line]:
    """What verdicts on a few splits are worth for other splits."""
    cases = ((2, 6, ".184", 0.165, 0.20), (3, 4, ".093", 0.08, 0.105), (4, 3, ".050", 0.04, 0.06))
    lines = []
    for splits, seeds, seen, low, high in cases:
        design = Design(splits=splits, seeds=seeds)
        false = any_false(random, design, round(scale * 6000))
        condition = f"{splits} × {seeds} read as of other splits (the procedure says “{scope_of(design.keys)}”)"
        lines.append(line("B2", condition, false, seen, low, high))
    return lines


def b3(random: Generator, scale: float) -> list[Line]:
    """False verdicts where splits are units."""
    return [
        line(
            "B3",
            f"{splits} × {seeds} without effects",
            any_false(random, Design(splits=splits, seeds=seeds), round(scale * 4000)),
            seen,
            high=0.050,
        )
        for splits, seeds, seen in ((6, 2, ".034"), (12, 1, ".037"))
    ]


def b4(random: Generator, scale: float) -> list[Line]:
    """False verdicts on fixed splits, as of these."""
    return [
        line(
            "B4",
            f"{splits} × {seeds}, s_I = 0, as of these splits",
            any_false(random, Design(splits=splits, seeds=seeds, interaction_sd=0.0), round(scale * 6000)),
            seen,
            high=0.048,
        )
        for splits, seeds, seen in ((2, 6, ".024"), (3, 4, ".022"), (4, 3, ".014"))
    ]


def b5(random: Generator, scale: float) -> list[Line]:
    """Uneven fixed splits: the interval for these splits, and the limit of the interaction."""
    lines = []
    for sizes in ((4, 8), (3, 4, 5), (2, 3, 3, 4)):
        replicates = round(scale * 3000)
        spreads = np.where(np.arange(len(sizes)) % 2, 1.5, 1.0) * math.sqrt(2) * 0.05
        effects = 0.03 * random.standard_normal((replicates, len(sizes), 1))
        ratios = effects + spreads[:, None] * random.standard_normal((replicates, len(sizes), max(sizes)))
        ratios[:, np.arange(max(sizes)) >= np.array(sizes)[:, None]] = np.nan
        judgement = judge(on_fixed_splits(ratios), at_level(0.05, 1))
        truth = effects.mean((1, 2))
        inside = (judgement.low <= truth) & (judgement.high >= truth)
        shape = " + ".join(map(str, sizes))
        lines.append(
            line(
                "B5",
                f"{shape} seeds on fixed splits, spreads 1 : 1.5, interval covers",
                inside,
                ".951–.967",
                0.938,
                0.975,
            )
        )
        below = interaction(ratios).limit >= 0.03
        lines.append(
            line("B5", f"{shape} seeds, upper 95 % limit of the interaction covers", below, ".948–.959", 0.935)
        )
    return lines


ROWS = (a1, a2, a3, a4, b1, b2, b3, b4, b5)
