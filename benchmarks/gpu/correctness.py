"""Part 1: the device against the CPU in float64; recorded, interrupted, and repeated trainings."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from benchmarks.gpu import derivatives, epochs, resumption
from benchmarks.gpu.data import CASES
from benchmarks.gpu.models import examples
from benchmarks.gpu.part import Record, Setting, main, says

TOLERANCE = 1e-9
"""Relative to the largest entry. Atomic additions and cuBLAS sum in an order of their own, which costs some 1e-15 of
each sum and, through second derivatives or three epochs, 1e-12; a wrong term costs 1e-3 and more. A ReLU within
rounding of its kink, or two neighbours that tie for an extremum with other gradients, would cost as much, but weights
are random and none is 0: of some 1e5 activations one within 1e-14 of its kink is as likely as 1e-9."""
TRAINED_IF_SMALL = ("pna", "graph_network")
"""Networks that train in a small run, by the ends of their names."""


def measure(setting: Setting, record: Record) -> None:
    """Derivatives of every network, then trainings: a recording that fails may leave the device unusable."""
    record["reference"] = "torch's operations on the CPU, without compiled loops"
    record["tolerance"] = TOLERANCE
    record["passed"] = False
    every = list(examples(setting))
    trained = every if setting.full else [example for example in every if example.name.endswith(TRAINED_IF_SMALL)]
    checks: list[tuple[str, dict[str, Callable[[], dict[str, Any]]]]] = [
        ("derivatives", {e.name: lambda e=e: {"deviations": derivatives.compare(setting, e)} for e in every}),
        ("epochs", {e.name: lambda e=e: epochs.compare(setting, e) for e in trained}),
        ("resumption", {case: lambda case=case: resumption.compare(setting, case) for case in CASES}),
    ]
    passed = True
    for name, rows in checks:
        record[name] = table = dict[str, Any]()
        for row, compare in rows.items():
            table[row] = judged(compare)
            passed = passed and table[row]["passed"]
            record.write()
    record["passed"] = passed


def judged(compare: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was compared, with ``passed``; an error is kept as text.

    A step that was to be recorded and was not has only been compared with itself, so it does not pass.
    """
    try:
        row = compare()
    except Exception as error:  # the other rows are wanted all the same
        traceback.print_exc()
        return {"passed": False, "error": says(error)}
    recorded = row.get("recordings", 0) > 0 or not row.get("asked", False)
    near = all(value <= TOLERANCE for value in row["deviations"].values())
    return {"passed": near and recorded and not row.get("refused"), **row}


if __name__ == "__main__":
    main(measure)
