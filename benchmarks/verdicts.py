"""Error rates and power of the verdicts: thousands of simulated studies go through the functions that judge a real one.

Every row is seeded by its name, so a row gives the same number whichever others run beside it.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Collection, Iterator

import numpy as np

from benchmarks import verdict_conditions, verdict_designs, verdict_partitions
from benchmarks.verdict_studies import Line
from ensemble_mtl.core.runtime.provenance import versions

ROUNDS = 1
"""Multiple of the simulated studies per row that the table names."""
SEED = 1
QUICK = 0.05
ROWS = {
    row.__name__.upper(): row
    for module in (verdict_designs, verdict_conditions, verdict_partitions)
    for row in module.ROWS
}


def run(rounds: int, rows: Collection[str] = (), quick: bool = False) -> dict[str, str]:
    """Simulate; the page with the table.

    Args:
        rounds: multiple of the simulated studies per row.
        rows: names of the rows, all if empty.
        quick: a twentieth of the studies.

    Returns:
        The page, or nothing if only some rows or few studies ran: then the table is printed.
    """
    unknown = sorted(set(rows) - set(ROWS))
    if unknown:
        raise SystemExit(f"--rows: no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    began = time.monotonic()
    scale = rounds * (QUICK if quick else 1)
    lines = []
    for name in rows or ROWS:
        simulated = ROWS[name](np.random.default_rng([SEED, zlib.crc32(name.encode())]), scale)
        for line in simulated:
            print(f"{line.row} {line.condition}: {line.seen:.4f} ± {line.error:.4f}", flush=True)
        lines += simulated
    if rows or quick:
        print("\n".join(_table(lines, judged=not quick)))  # a twentieth of the studies scatters too much for the ranges
        return {}
    return {"verdicts.md": _page(lines, rounds, time.monotonic() - began)}


def _page(lines: Collection[Line], rounds: int, seconds: float) -> str:
    software = ", ".join(f"{name} {version}" for name, version in versions().items() if name in ("numpy", "python"))
    more = f" --rounds {rounds}" if rounds > 1 else ""
    judged = [line for line in lines if line.bounded]
    made = f"`python -m benchmarks --only verdicts{more}` (seed {SEED}; {seconds:.0f} s on a core; {software})"
    count = f"{sum(line.met for line in judged)} of {len(judged)} numbers are in their range"
    return "\n".join([INTRODUCTION.format(count=count, made=made), "", *_table(lines), "", NOTES])


INTRODUCTION = """\
# Error rates of the verdicts

How often verdicts are wrong, and how often they show what is there, in simulated studies whose truth is in hand. The
functions are those that judge a real study. *Expected* is what earlier simulations gave, with which the procedure was
designed; *accepted* is that value with three Monte Carlo standard errors, rounded outwards, or the error rate that is
promised with its own three. {count}. Made by {made}; `--rows A1,B2` simulates some rows and `--quick` few studies, and
both print only.

Unless a row says otherwise a study has 3 tasks, all 7 subsets and so 9 comparisons, 12 repeats with a split and a seed
of their own (12 × 1), and the first look's error rate of .04. A member's log error has a standard deviation of
s_S = 5 % within a split; splits and subsets interact with s_I = 3 % in the difference of two log errors; a difference
has s_d = √(s_I² + 2 s_S²) = 7.7 %. The interaction is divided evenly between both cells of a difference, so comparisons
of a task are correlated by a half. R is the number of simulated studies."""

NOTES = """\
**What the rows mean.** A: the default design. B: what verdicts are worth where splits are few; B1 and B2 read them as
of other splits, which the procedure does not. C: all verdicts at once, and “same”. D: what is printed beside an
undecided comparison. E: looking again after more repeats. F: the interaction that a verdict on a single split says it
stands up to. G: new data of the same source, whose data sets differ by .214 of the variance of the interaction. H:
deviations that are not normal. I: partitions of the tasks. J: mismatch and gain over pairs of tasks. K: further checks,
of crossed designs, borrowed spread, and several measures under a single maximum.

**Out of range, and why.** The ranges belong to earlier simulations whose programs are not at hand, and four of their
conditions can be read in more than one way. The first reading that was tried missed; a second one is shown beside it.
D2: the printed number was tried with the pilot among the repeats, which gives more power than the range, and then as a
new study. E2: with the default margin, comparisons that the first look calls the same are not tested again, so the harm
is smaller; without a margin it is that of the earlier simulation. H1 and H2: outliers of twice the error miss by far.
Milder ones, whose size was chosen after trying several between 3 and 14 standard deviations, come near what was
expected; so they are shown without a judgement. I1 and I2 were expected at a level of .05 and are simulated at .04. The
ranges of K were set for this page; the last line of K1 depends on how much initial values matter, here 3 %.

**Limits.** The t-test compares mean log errors. If a tenth of the members of one ensemble end with twice the error,
three in ten studies of twelve repeats see none of them, and no test of these twelve can tell. Outliers that all
ensembles have alike make verdicts rarer, not wrong.
"""


def _table(lines: Collection[Line], *, judged: bool = True) -> Iterator[str]:
    yield "| # | condition | R | seen | Monte Carlo error | expected | accepted | met |"
    yield "|:--|:--|--:|--:|--:|--:|--:|:--|"
    for line in lines:
        met = ("yes" if line.met else "**no**") if line.bounded and judged else "–"
        yield (
            f"| {line.row} | {line.condition} | {line.replicates:,} | {line.seen:.4f} | {line.error:.4f} "
            f"| {line.design or '–'} | {_accepted(line)} | {met} |"
        )


def _accepted(line: Line) -> str:
    if not line.bounded:
        return "–"
    if line.low > 0 and line.high < 1:
        return f"{line.low:.3f}–{line.high:.3f}"
    return f"≥ {line.low:.3f}" if line.low > 0 else f"≤ {line.high:.3f}"
