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

from ensemble_mtl.analysis import summary_file
from ensemble_mtl.core.errors import IncompleteStudyError, StoreError
from ensemble_mtl.study.plan import Member

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


class TimesError(Exception):
    """The study that was named has no times."""


@dataclass(frozen=True)
class Group:
    """Members of one subset.

    Attributes:
        subset: their tasks; launchers judge by the number of tasks how long a member takes.
        draw: ``(rng, n)`` -> ``[n]`` GPU-seconds.
    """

    subset: tuple[str, ...]
    draw: Draw


def plan(groups: list[Group], num_members: int) -> list[Member]:
    """Return members spread evenly over the groups, in the order of a plan; ids are numbers from 0."""
    bounds = [num_members * k // len(groups) for k in range(len(groups) + 1)]
    return [
        Member(str(row), group.subset, row - bounds[k], 0, 1.0)
        for k, group in enumerate(groups)
        for row in range(bounds[k], bounds[k + 1])
    ]


def seconds(groups: list[Group], num_members: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return times in GPU-seconds ``[num_members]``, in the order of :func:`plan`."""
    bounds = [num_members * k // len(groups) for k in range(len(groups) + 1)]
    return np.concatenate([group.draw(rng, bounds[k + 1] - bounds[k]) for k, group in enumerate(groups)])


def lognormal(subset: tuple[str, ...], mean: float, std: float) -> Group:
    """Return a group whose times have this mean and standard deviation in seconds; none is negative."""
    variance = math.log1p((std / mean) ** 2)
    return Group(subset, lambda rng, n: rng.lognormal(math.log(mean) - variance / 2, math.sqrt(variance), n))


def measured(subset: tuple[str, ...], times: list[float]) -> Group:
    """Return a group whose times are drawn from ``times``, in seconds."""
    return Group(subset, lambda rng, n: rng.choice(times, n))


def of_study(folder: Path) -> list[Group]:
    """Return the times of a study's members by subset.

    Args:
        folder: a study directory; or one with ``summary.json`` alone, whose times are those without probes.

    Raises:
        TimesError: the folder has neither results nor a summary, or they cannot be read.
    """
    paths = sorted(folder.glob("members/*/*/result.json"))
    try:
        if paths:
            times: dict[tuple[str, ...], list[float]] = {}
            for path in paths:
                record = json.loads(path.read_text())
                times.setdefault(tuple(record["member"]["subset"]), []).append(member_seconds(record))
            return [measured(subset, times[subset]) for subset in sorted(times, key=lambda subset: -len(subset))]
        rows = summary_file.load(folder / "summary.json").wall_clock
        return [lognormal(row.subset, row.mean_seconds, row.std_seconds or 0.0) for row in rows if row.mean_seconds]
    except IncompleteStudyError:
        raise TimesError(
            f"{folder}: neither members/*/*/result.json nor summary.json; name a study directory"
        ) from None
    except StoreError as error:
        raise TimesError(str(error)) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TimesError(f"{folder}: not readable as a study ({type(error).__name__}: {error})") from None


def member_seconds(record: dict[str, Any]) -> float:
    """Return a member's share of its stack's time in seconds, for training and probes."""
    return float(record["train_seconds"]) + sum(float(probe["seconds"]) for probe in record["probes"])
