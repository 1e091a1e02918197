"""How long members take: measured in a study, or drawn from a distribution."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.study.plan import Member

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


class TimesError(Exception):
    """There are no times to be had from what was named."""


@dataclass(frozen=True)
class Group:
    """Members of one subset.

    Attributes:
        subset: their tasks; the number of these is what the launchers judge their length by.
        draw: ``(rng, n)`` -> ``[n]`` GPU-seconds.
    """

    subset: tuple[str, ...]
    draw: Draw


def plan(groups: list[Group], num_members: int) -> list[Member]:
    """Members spread evenly over the groups, in a plan's order; ids are numbers from 0."""
    bounds = [num_members * k // len(groups) for k in range(len(groups) + 1)]
    return [
        Member(str(row), group.subset, row - bounds[k], 0, 1.0)
        for k, group in enumerate(groups)
        for row in range(bounds[k], bounds[k + 1])
    ]


def seconds(groups: list[Group], num_members: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """``[num_members]`` times in the order of :func:`plan`."""
    bounds = [num_members * k // len(groups) for k in range(len(groups) + 1)]
    return np.concatenate([group.draw(rng, bounds[k + 1] - bounds[k]) for k, group in enumerate(groups)])


def lognormal(subset: tuple[str, ...], mean: float, std: float) -> Group:
    """Times with this mean and standard deviation, of which none is negative."""
    variance = math.log1p((std / mean) ** 2)
    return Group(subset, lambda rng, n: rng.lognormal(math.log(mean) - variance / 2, math.sqrt(variance), n))


def measured(subset: tuple[str, ...], found: list[float]) -> Group:
    """Times drawn from ``found``."""
    return Group(subset, lambda rng, n: rng.choice(found, n))


def of_study(folder: Path) -> list[Group]:
    """Times of the members of a study directory, or of a ``summary.json`` alone (without its probes).

    Raises:
        TimesError: it has neither.
    """
    paths = sorted(folder.glob("members/*/*/result.json"))
    try:
        if paths:
            times: dict[tuple[str, ...], list[float]] = {}
            for path in paths:
                record = json.loads(path.read_text())
                times.setdefault(tuple(record["member"]["subset"]), []).append(member_seconds(record))
            return [measured(subset, times[subset]) for subset in sorted(times, key=lambda subset: -len(subset))]
        rows = json.loads((folder / "summary.json").read_text())["wall_clock"]
        return [lognormal(tuple(row["subset"]), row["mean"], row["std"] or 0.0) for row in rows]
    except FileNotFoundError:
        raise TimesError(
            f"{folder}: neither members/*/*/result.json nor summary.json; name a study directory"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TimesError(f"{folder}: not readable as a study ({type(error).__name__}: {error})") from None


def member_seconds(record: dict[str, Any]) -> float:
    """A member's share of its stack's time: training and probes."""
    return float(record["train_seconds"]) + sum(float(probe["seconds"]) for probe in record["probes"])
