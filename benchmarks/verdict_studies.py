"""Simulated studies, of which the truth is in hand, and the count of what their verdicts get wrong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.analysis.verdict.estimate import estimate
from ensemble_mtl.analysis.verdict.judgement import Judgement, judge
from ensemble_mtl.analysis.verdict.pairs import design_of
from ensemble_mtl.analysis.verdict.terms import FIRST_SHARE, Terms

FloatArray = NDArray[np.float64]
Noise = Callable[[np.random.Generator, tuple[int, ...], bool], FloatArray]
"""Draws members' deviations of some shape, of mean 0, in units of ``seed_sd``; the flag says if the task is alone."""

Generator = np.random.Generator
SEED_SD = 0.05
INTERACTION_SD = 0.03
LEVEL = 0.04
"""Error rate of the first look."""


def normal(random: Generator, shape: tuple[int, ...], alone: bool) -> FloatArray:
    """Deviations of variance 1."""
    return random.standard_normal(shape)


@dataclass(frozen=True)
class Design:
    """How a simulated study is laid out, and how its errors scatter.

    Attributes:
        tasks: T; all their subsets are trained.
        splits: S.
        seeds: members on each split.
        seed_sd: sd of a member's log error within a split.
        interaction_sd: sd of the interaction of split and subset, of the *difference* of two log errors.
        noise: shape of a member's deviation.
    """

    tasks: int = 3
    splits: int = 12
    seeds: int = 1
    seed_sd: float = SEED_SD
    interaction_sd: float = INTERACTION_SD
    noise: Noise = normal

    @property
    def subsets(self) -> list[tuple[int, ...]]:
        """Subsets of the tasks, single ones first."""
        sizes = range(1, self.tasks + 1)
        return [subset for size in sizes for subset in itertools.combinations(range(self.tasks), size)]

    @property
    def cells(self) -> list[tuple[tuple[int, ...], int]]:
        """Subset and task of every cell; those of single tasks come first, in the order of the tasks."""
        return [(subset, task) for subset in self.subsets for task in subset]

    @property
    def comparisons(self) -> list[tuple[tuple[int, ...], int]]:
        """The cells of several tasks, each of which is compared with its task alone."""
        return [(subset, task) for subset, task in self.cells if len(subset) > 1]

    @property
    def keys(self) -> list[tuple[int, int]]:
        """(split, seed) of every member: a seed of its own on each split, or the same seeds on all."""
        if self.seeds == 1:
            return [(split, split) for split in range(self.splits)]
        return [(split, seed) for split in range(self.splits) for seed in range(self.seeds)]

    @property
    def unit_sd(self) -> float:
        """Sd of the log ratio of a repeat: ``√(s_I² + 2 s_S²)``."""
        return math.sqrt(self.interaction_sd**2 + 2 * self.seed_sd**2)


def log_errors(random: Generator, design: Design, replicates: int) -> FloatArray:
    """Log errors ``[R, cells, S, n]`` without effects.

    Each cell has its own interaction with the split, of sd ``s_I / √2``, so that a difference of two has ``s_I``.
    """
    shape = (replicates, len(design.cells), design.splits, design.seeds)
    interaction = design.interaction_sd / math.sqrt(2) * random.standard_normal((*shape[:3], 1))
    noise = [
        design.noise(random, (replicates, design.splits, design.seeds), len(subset) == 1) for subset, _ in design.cells
    ]
    errors: FloatArray = interaction + design.seed_sd * np.stack(noise, axis=1)
    return errors


def log_ratios(random: Generator, design: Design, replicates: int, effects: FloatArray | float = 0.0) -> FloatArray:
    """Log ratios ``[R, K, S, n]`` of every comparison, with true effects ``[K]``."""
    errors = log_errors(random, design, replicates)
    alone, together = errors[:, : design.tasks], errors[:, design.tasks :]
    tasks = [task for _, task in design.comparisons]
    ratios: FloatArray = together - alone[:, tasks] + np.broadcast_to(effects, len(tasks))[:, None, None]
    return ratios


def false_verdicts(judgement: Judgement, effects: FloatArray | float, margin: float) -> NDArray[np.bool_]:
    """Which verdicts ``[R, K]`` say what is not so: a gain or loss that is none, or equality beyond the margin."""
    beyond = np.abs(effects) >= math.log1p(margin)
    gains, loses = judgement.verdict == "gains", judgement.verdict == "loses"
    small = (judgement.verdict == "same") | (judgement.within_margin & (gains | loses))
    false: NDArray[np.bool_] = (gains & (effects >= 0)) | (loses & (effects <= 0)) | (small & beyond)
    return false


def any_false(random: Generator, design: Design, replicates: int) -> NDArray[np.bool_]:
    """Whether each of so many studies without effects states a gain or loss."""
    terms = at_level(LEVEL, len(design.comparisons))
    judgement = judge(estimate(log_ratios(random, design, replicates), design_of(design.keys)), terms)
    return false_verdicts(judgement, 0.0, terms.margin).any(1)


def at_level(level: float, comparisons: int, margin: float = 0.10) -> Terms:
    """Terms whose first look has this level."""
    return Terms(comparisons=comparisons, margin=margin, alpha=level / FIRST_SHARE)


@dataclass(frozen=True)
class Line:
    """A number of the benchmark.

    Attributes:
        row: its name.
        condition: what was simulated.
        replicates: simulated studies.
        seen: share of them.
        error: Monte Carlo standard error of ``seen``.
        design: what the simulations gave with which the procedure was designed.
        low: lower end of what is accepted.
        high: upper end.
    """

    row: str
    condition: str
    replicates: int
    seen: float
    error: float
    design: str
    low: float = 0.0
    high: float = 1.0

    @property
    def bounded(self) -> bool:
        """Whether there is a range; without, the number is shown as a limit of the procedure."""
        return self.low > 0 or self.high < 1

    @property
    def met(self) -> bool:
        """Whether the number is in its range."""
        return self.low <= self.seen <= self.high


def line(row: str, condition: str, events: NDArray[np.bool_], design: str, low: float = 0.0, high: float = 1.0) -> Line:
    """The share of events ``[R, ...]``; events of a study are not independent, so its error is that between studies."""
    shares = events.reshape(len(events), -1).mean(1)
    error = float(shares.std(ddof=1) / math.sqrt(len(shares)))
    return Line(row, condition, len(shares), float(shares.mean()), error, design, low, high)
