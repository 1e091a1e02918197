"""Rows C to H: equality, planning, looks, single splits, new data, and deviations that are not normal."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from benchmarks.verdict_studies import (
    LEVEL,
    SEED_SD,
    Design,
    FloatArray,
    Generator,
    Line,
    Noise,
    any_false,
    at_level,
    false_verdicts,
    line,
    log_ratios,
)
from ensemble_mtl.analysis.verdict.estimate import estimate, on_fixed_splits
from ensemble_mtl.analysis.verdict.judgement import is_decided, judge, new_data_interval
from ensemble_mtl.analysis.verdict.planning import detectable_effect, repeats_needed
from ensemble_mtl.analysis.verdict.stability import hangs_on, overturning_sd
from ensemble_mtl.analysis.verdict.terms import Terms


def c1(random: Generator, scale: float) -> list[Line]:
    """All kinds of verdicts at once, with effects at the margin."""
    lines = []
    effects = np.tile([0.0, math.log(1.05), math.log(0.95)], 3)
    for splits, seen in ((6, ".040"), (12, ".039")):
        design = Design(splits=splits, seed_sd=0.01, interaction_sd=0.01)
        ratios = log_ratios(random, design, round(scale * 4000), effects)
        terms = at_level(LEVEL, len(effects), margin=0.05)
        false = false_verdicts(judge(estimate(ratios, "across splits"), terms), effects, terms.margin).any(1)
        condition = f"effects 0, +5, −5 %, margin 5 %, s_S = s_I = 1 %, n = {splits}, any false verdict"
        lines.append(line("C1", condition, false, seen, high=0.050))
    return lines


def c2(random: Generator, scale: float) -> list[Line]:
    """Power to show that nothing changes."""
    narrow = Design(seed_sd=0.025, interaction_sd=math.sqrt(0.04**2 - 2 * 0.025**2))
    cases = (
        (narrow, 0.05, ".662", 0.64, 0.685),
        (Design(), 0.05, ".016", 0.0, 0.025),
        (Design(), 0.10, ".691", 0.67, 0.715),
    )
    lines = []
    for design, margin, seen, low, high in cases:
        ratios = log_ratios(random, design, round(scale * 4000))
        judgement = judge(estimate(ratios, "across splits"), at_level(LEVEL, 9, margin))
        condition = f"no effect is “same within {100 * margin:.0f} %”, s_d = {100 * design.unit_sd:.1f} %, n = 12"
        lines.append(line("C2", condition, judgement.verdict == "same", seen, low, high))
    return lines


def _units(random: Generator, replicates: int, number: int, effect: float) -> FloatArray:
    """Log ratios ``[R, number, 1]`` of a single comparison, one per repeat."""
    ratios: FloatArray = effect + Design().unit_sd * random.standard_normal((replicates, number, 1))
    return ratios


def d1(random: Generator, scale: float) -> list[Line]:
    """Power at the effect that is printed as detectable with 80 %."""
    lines, terms = [], at_level(LEVEL, 9)
    for number, seen in ((8, ".765"), (12, ".789"), (24, ".795")):
        critical = judge(estimate(_units(random, 1, number, 0.0), "across splits"), terms).critical
        effect = detectable_effect(critical, np.array(number - 1.0), np.array(Design().unit_sd / math.sqrt(number)))
        ratios = _units(random, round(scale * 4000), number, -float(effect[0]))
        gains = judge(estimate(ratios, "across splits"), terms).verdict == "gains"
        lines.append(line("D1", f"power at the printed detectable effect, n = {number}", gains, seen, 0.74, 0.82))
    return lines


def d2(random: Generator, scale: float) -> list[Line]:
    """Power at the number of repeats that is printed as needed."""
    sd = Design().unit_sd
    first = at_level(LEVEL, 9, margin=math.expm1(sd))
    second = first.model_copy(update={"look": 2})
    pilots = _units(random, round(scale * 1500), 12, -sd)
    needed = repeats_needed(estimate(pilots, "across splits"), first).astype(int)
    lines = []
    for among, kind in ((False, "a new study of as many repeats as printed"), (True, "the pilot is among the repeats")):
        gains = []
        for pilot, number in zip(pilots, needed, strict=True):
            further = _units(random, 1, int(number), -sd)[0]
            repeats = np.concatenate([pilot, further])[:number] if among else further
            gains.append(judge(estimate(repeats, "across splits"), second).verdict == "gains")
        condition = f"pilot of 12, effect = s_d, {np.median(needed):.0f} repeats in the median, look 2: {kind}"
        lines.append(line("D2", condition, np.array(gains), ".888", 0.86, 0.92))
    return lines


def _after_looks(random: Generator, replicates: int, levels: list[float], margin: float) -> NDArray[np.bool_]:
    """Whether studies state a gain or loss after looks at 12, 24 and 48 repeats, of which decided ones stand."""
    ratios = log_ratios(random, Design(splits=48), replicates)
    standing = np.full(ratios.shape[:2], "undecided")
    for number, level in zip((12, 24, 48), levels, strict=True):
        verdict = judge(estimate(ratios[:, :, :number], "across splits"), at_level(level, 9, margin)).verdict
        standing = np.where(is_decided(standing), standing, verdict)
    clear: NDArray[np.bool_] = np.isin(standing, ("gains", "loses")).any(1)
    return clear


def e1(random: Generator, scale: float) -> list[Line]:
    """False verdicts over three looks."""
    levels = [Terms(comparisons=9, look=look).level for look in (1, 2, 3)]
    lines = []
    for margin, kind in ((0.0, "no margin for “same”"), (0.10, "margin 10 %")):
        false = _after_looks(random, round(scale * 4000), levels, margin)
        condition = f"looks at 12, 24, 48 repeats at .04, .008, .0016, {kind}, any false verdict"
        lines.append(line("E1", condition, false, ".043", high=0.057))
    return lines


def e2(random: Generator, scale: float) -> list[Line]:
    """What would happen if each look took the whole error rate."""
    lines = []
    for margin, kind in ((0.0, "no margin for “same”"), (0.10, "margin 10 %")):
        false = _after_looks(random, round(scale * 4000), [0.05] * 3, margin)
        condition = f"looks at .05 each, {kind} (not the procedure: shows the harm)"
        lines.append(line("E2", condition, false, ".119", 0.10, 0.14))
    return lines


def f1(random: Generator, scale: float) -> list[Line]:
    """Verdicts on a single split that say they stand up to the interaction there is."""
    lines = []
    for sd, seen in ((0.03, ".002"), (0.05, ".003")):
        ratios = log_ratios(random, Design(splits=1, seeds=12, interaction_sd=sd), round(scale * 4000))
        estimated = on_fixed_splits(ratios)
        judgement = judge(estimated, at_level(LEVEL, 9))
        above = overturning_sd(estimated, judgement, 1) > sd
        false = false_verdicts(judgement, 0.0, 0.10) & above
        condition = f"one split, s_I = {100 * sd:.0f} %: false verdict with a printed overturning sd above s_I"
        lines.append(line("F1", condition, false.any(1), seen, high=0.01))
    return lines


def g1(random: Generator, scale: float) -> list[Line]:
    """Coverage for new data of the same source."""
    overlap, lines = 0.214, []
    for sd, with_overlap, without in ((0.03, ".995", ".910"), (0.08, ".977", ".809")):
        replicates = round(scale * 4000)
        ratios = log_ratios(random, Design(interaction_sd=sd), replicates)
        ratios += math.sqrt(overlap) * sd * random.standard_normal((*ratios.shape[:2], 1, 1))
        estimated = estimate(ratios, "across splits")
        judgement = judge(estimated, at_level(0.05, 1))
        for share, seen, low, high in ((overlap, with_overlap, 0.965, 1.0), (0.0, without, 0.79, 0.93)):
            ends = new_data_interval(estimated, judgement, share)
            what = f"second interval, n_test/n_train = {share}" if share else "first interval"
            condition = f"new data, s_I = {100 * sd:.0f} %: {what} at 95 % covers"
            lines.append(line("G1", condition, (ends[0] <= 0) & (ends[1] >= 0), seen, low, high))
    return lines


def _student(random: Generator, shape: tuple[int, ...], alone: bool) -> FloatArray:
    return random.standard_t(3, shape) / math.sqrt(3)


def _log_normal(random: Generator, shape: tuple[int, ...], alone: bool) -> FloatArray:
    """Skewed and three times as wide for tasks alone, normal otherwise."""
    if not alone:
        return random.standard_normal(shape)
    sigma = 0.5
    mean, sd = math.exp(sigma**2 / 2), math.exp(sigma**2 / 2) * math.sqrt(math.expm1(sigma**2))
    return 3 * (random.lognormal(0.0, sigma, shape) - mean) / sd


def _with_outliers(size: float, width: float) -> Noise:
    """Deviations of tasks alone of which a tenth lies higher; the mean log error stays that of the others.

    Args:
        size: of the shift, in standard deviations of the rest.
        width: standard deviation of all of them, in those of members of several tasks.
    """

    def noise(random: Generator, shape: tuple[int, ...], alone: bool) -> FloatArray:
        """Skewed for tasks alone, normal otherwise."""
        deviations = random.standard_normal(shape)
        if alone:
            deviations += size * ((random.random(shape) < 0.1) - 0.1)
            deviations *= width / math.sqrt(1 + 0.09 * size**2)
        return deviations

    return noise


DOUBLED = math.log(2) / SEED_SD
SHAPES = (
    ("t with 3 degrees of freedom", _student, ".030", 0.045, ".013", 0.025),
    ("alone log-normal (σ = .5), 3 × as wide", _log_normal, ".063", 0.078, ".034", 0.045),
    (
        "alone a tenth with twice the error (14 sd higher)",
        _with_outliers(DOUBLED, math.sqrt(1 + 0.09 * DOUBLED**2)),
        ".082",
        0.10,
        ".043",
        0.055,
    ),
    ("alone a tenth 5 sd higher, 2 × as wide in all", _with_outliers(5, 2), "", 1.0, "", 1.0),
)


def h1(random: Generator, scale: float) -> list[Line]:
    """False verdicts where deviations are not normal."""
    lines = []
    for name, noise, seen, high, _, _ in SHAPES:
        false = any_false(random, Design(noise=noise), round(scale * 4000))
        lines.append(line("H1", f"deviations {name}: any false verdict", false, seen, high=high))
    return lines


def h2(random: Generator, scale: float) -> list[Line]:
    """Those of the false verdicts that do not hang on a single repeat."""
    lines, terms = [], at_level(LEVEL, 9)
    for name, noise, _, _, seen, high in SHAPES:
        ratios = log_ratios(random, Design(noise=noise), round(scale * 4000))
        judgement = judge(estimate(ratios, "across splits"), terms)
        hanging = hangs_on(ratios, "across splits", terms, judgement).any(-1)
        false = false_verdicts(judgement, 0.0, terms.margin) & ~hanging
        lines.append(
            line("H2", f"deviations {name}: any that does not hang on a repeat", false.any(1), seen, high=high)
        )
    return lines


ROWS = (c1, c2, d1, d2, e1, e2, f1, g1, h1, h2)
