"""Relabelings of the tasks of several studies, all of them or a seeded sample."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from ensemble_mtl.data.graph import IntArray

MAX_EXACT = 20_000
"""Up to so many joint relabelings all are enumerated."""
SAMPLED = 9_999
"""Relabelings in a sample, beside the observed labels."""


def joint_number(sizes: Sequence[int]) -> int:
    """Number of joint relabelings of groups with so many tasks: the product of the factorials."""
    return math.prod(math.factorial(size) for size in sizes)


def relabelings(sizes: Sequence[int], seed: int) -> tuple[list[IntArray], bool]:
    """Joint relabelings of groups with so many tasks.

    Returns:
        One array ``[N, T]`` per group, a relabeling of the tasks per row, and whether these are all joint relabelings.
        In a complete list the first row leaves the tasks as they are; a sample does not contain it on purpose.
    """
    number = joint_number(sizes)
    if number <= MAX_EXACT:
        every = [np.array(list(itertools.permutations(range(size))), dtype=np.int64) for size in sizes]
        places = np.unravel_index(np.arange(number), [len(table) for table in every]) if sizes else []
        return [table[place] for table, place in zip(every, places, strict=True)], True
    random = np.random.default_rng(seed)
    drawn = [random.permuted(np.tile(np.arange(size), (SAMPLED, 1)), axis=1) for size in sizes]
    return drawn, False
