"""Rows I and J, and three further checks: partitions, mismatch, crossed designs and borrowed spread."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.verdict_studies import (
    LEVEL,
    Design,
    FloatArray,
    Generator,
    Line,
    at_level,
    line,
    log_errors,
    log_ratios,
)
from ensemble_mtl.analysis.verdict.best import Losses, compare_with_the_best
from ensemble_mtl.analysis.verdict.borrowing import prior, with_prior
from ensemble_mtl.analysis.verdict.estimate import crossed, estimate
from ensemble_mtl.analysis.verdict.judgement import judge
from ensemble_mtl.analysis.verdict.mismatch import PairStudy, Relation, relation
from ensemble_mtl.analysis.verdict.partition import Partition, partition_losses, partitions


def _losses(
    random: Generator, design: Design, replicates: int, effects: FloatArray | float = 0.0
) -> tuple[FloatArray, list[Partition]]:
    """Losses ``[R, S, P]`` of all partitions, with true effects ``[cells]`` on log errors; the last is all together."""
    tasks = [str(task) for task in range(design.tasks)]
    names = [(tuple(map(str, subset)), str(task)) for subset, task in design.cells]
    candidates = sorted(
        partitions(tasks, [tuple(map(str, subset)) for subset in design.subsets]), key=len, reverse=True
    )
    errors = np.moveaxis(log_errors(random, design, replicates).mean(-1), 1, 2) + effects
    return partition_losses(errors, names, candidates, dict.fromkeys(tasks, 1 / len(tasks))), candidates


def i1(random: Generator, scale: float) -> list[Line]:
    """The set of those that may be best holds the best."""
    lines = []
    cases = ((3, 4000, ".953", 0.94), (4, 2000, ".965", 0.945), (5, 500, ".974", 0.92))
    for tasks, replicates, seen, low in cases:
        losses, candidates = _losses(random, Design(tasks=tasks), round(scale * replicates))
        compared = compare_with_the_best(Losses((losses,), "across splits"), len(candidates), LEVEL, 0.05)
        condition = f"all equal, T = {tasks} ({len(candidates)} partitions): a partition is in the set that may be best"
        lines.append(line("I1", condition, compared.may_be_best, seen, low))
    return lines


def i2(random: Generator, scale: float) -> list[Line]:
    """Partitions that are called near the best and are not."""
    lines = []
    cases = ((3, 3000, ".045"), (4, 1500, ".031"), (5, 300, ".023"))
    for tasks, replicates, seen in cases:
        design = Design(tasks=tasks, seed_sd=0.03, interaction_sd=0.02)
        # only the partition of all tasks together has the cells of the full subset
        effects = np.array([-math.log(1.0501) * (len(subset) == tasks) for subset, _ in design.cells])
        losses, candidates = _losses(random, design, round(scale * replicates), effects)
        compared = compare_with_the_best(Losses((losses,), "across splits"), len(candidates), LEVEL, 0.05)
        condition = f"all but the best 5.01 % worse, s_S 3, s_I 2 %, T = {tasks}: any false “within 5 %”"
        lines.append(line("I2", condition, compared.within[:, :-1].any(1), seen, high=0.062))
    return lines


SCHEMES = ((1, 4), (1, 5), (1, 8), (27, 3), (8, 4), (4, 5))
"""Number of pooled studies, and tasks of each."""


def _relations(
    random: Generator, replicates: int, number: int, tasks: int, rho: float, measures: int = 1
) -> list[Relation]:
    """Answers on simulated pools whose pairs have a rank correlation of ``rho``; measures are correlated with .8."""
    pearson = 2 * math.sin(math.pi * rho / 6)  # of a normal pair that has this rank correlation
    upper = np.triu_indices(tasks, 1)

    def table(values: FloatArray) -> FloatArray:
        """Symmetric, from the pairs above the diagonal."""
        full = np.zeros((tasks, tasks))
        full[upper] = values
        return full + full.T

    answers = []
    for replicate in range(replicates):
        studies = []
        for study in range(number):
            ratios, common = random.standard_normal((2, len(upper[0])))
            mismatches = {}
            for measure in range(measures):
                separate = random.standard_normal(len(upper[0]))
                noise = common if measures == 1 else math.sqrt(0.8) * common + math.sqrt(0.2) * separate
                mismatches[str(measure)] = table(pearson * ratios + math.sqrt(1 - pearson**2) * noise)
            studies.append(PairStudy(str(study), tuple(map(str, range(tasks))), table(ratios), mismatches))
        answers.append(relation(studies, seed=replicate))
    return answers


def _shown(answers: list[Relation]) -> np.ndarray:
    return np.array([answer.answer in ("rising", "falling") for answer in answers])


def _pool(number: int, tasks: int) -> str:
    return f"{number} {'study' if number == 1 else 'studies'} of {tasks} tasks"


def j1(random: Generator, scale: float) -> list[Line]:
    """Relations that are claimed where there is none."""
    lines = []
    for number, tasks in SCHEMES:
        answers = _relations(random, round(scale * (400 if tasks == 8 else 1000)), number, tasks, 0.0)
        high = 0.083 if tasks == 8 else 0.071
        lines.append(
            line("J1", f"no relation, {_pool(number, tasks)}: one is claimed", _shown(answers), ".034–.048", high=high)
        )
    return lines


def j2(random: Generator, scale: float) -> list[Line]:
    """Relations that are found."""
    lines = []
    for (number, tasks), power in zip(SCHEMES, (0.08, 0.26, 0.78, 0.81, 0.80, 0.81), strict=True):
        answers = _relations(random, round(scale * (400 if tasks == 8 else 1000)), number, tasks, 0.5)
        half = 0.07 if tasks == 8 else 0.05
        condition = f"true rank correlation .5, {_pool(number, tasks)}: found"
        lines.append(line("J2", condition, _shown(answers), f"{power:.2f}"[1:], power - half, power + half))
    return lines


def j3(random: Generator, scale: float) -> list[Line]:
    """A study of three tasks cannot show a relation."""
    answers = _relations(random, round(scale * 200), 1, 3, 0.5)
    verdict = np.array([answer.answer != "cannot be shown" for answer in answers])
    return [line("J3", "a study of 3 tasks gives a verdict", verdict, "0", high=0.0)]


def k1(random: Generator, scale: float) -> list[Line]:
    """Crossed designs of an old kind: the same initial values on every split."""
    replicates, splits, seeds = round(scale * 4000), 8, 4
    ratios = log_ratios(random, Design(splits=splits, seeds=seeds), replicates)
    ratios += 0.03 * random.standard_normal((*ratios.shape[:2], 1, seeds))  # initial values that all splits share
    lines = []
    for level, comparisons in ((0.05, 9), (0.05, 1)):
        judgement = judge(crossed(ratios), at_level(level, comparisons))
        outside = (judgement.low > 0) | (judgement.high < 0)
        if comparisons == 9:
            lines.append(line("K1", "8 × 4 crossed, any interval excludes 0", outside.any(1), ".001–.007", high=0.05))
        else:
            lines.append(line("K1", "8 × 4 crossed, interval at 95 % by itself covers", ~outside, ".97–.98", 0.945))
    means = judge(estimate(ratios, "across splits"), at_level(0.05, 9))
    harm = ((means.low > 0) | (means.high < 0)).any(1)
    lines.append(line("K1", "the same by means of splits (not the procedure: shows the harm)", harm, ".28–.68", 0.05))
    return lines


def k2(random: Generator, scale: float) -> list[Line]:
    """Spread that comparisons of a task borrow from each other."""
    lines = []
    for splits, plain, borrowed, low in ((12, ".84", ".89", 0.86), (5, ".14", ".30", 0.26)):
        design = Design(splits=splits)
        effects = np.zeros(len(design.comparisons))
        gain = design.comparisons.index(((0, 2), 0))
        effects[gain] = math.log(0.9)
        terms = at_level(LEVEL, len(effects))
        ratios = log_ratios(random, design, round(scale * 4000), effects)
        verdict = np.empty(ratios.shape[:2], dtype="U9")
        for task in range(design.tasks):
            places = [place for place, (_, compared) in enumerate(design.comparisons) if compared == task]
            shared = prior(np.moveaxis(ratios[:, places][..., 0], 1, 2))
            for place in places:
                verdict[:, place] = judge(
                    with_prior(estimate(ratios[:, place], "across splits"), shared), terms
                ).verdict
        false = np.isin(np.delete(verdict, gain, axis=1), ("gains", "loses")).any(1)
        lines.append(line("K2", f"borrowed spread, n = {splits}, any false verdict", false, ".018–.048", high=0.057))
        condition = f"borrowed spread, n = {splits}, −10 % for H in HM is a gain (without: {plain})"
        lines.append(line("K2", condition, verdict[:, gain] == "gains", borrowed, low))
    return lines


def k3(random: Generator, scale: float) -> list[Line]:
    """Ten correlated measures under a single maximum."""
    answers = _relations(random, round(scale * 1000), 3, 5, 0.0, measures=10)
    condition = f"no relation, {_pool(3, 5)}, the largest of ten measures: one is claimed"
    return [line("K3", condition, _shown(answers), "≤ .05", high=0.071)]


ROWS = (i1, i2, j1, j2, j3, k1, k2, k3)
