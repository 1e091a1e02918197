"""The answer in plain words: for each task, with whom should it be learned?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ensemble_mtl.report.table import p_value, percent_interval, signed
from ensemble_mtl.report.tables import fractions
from ensemble_mtl.study.plan import label

Tone = Literal["gains", "loses", "mixed", "open"]


@dataclass(frozen=True)
class Headline:
    """The verdict on one task.

    Attributes:
        task: its name.
        tone: what colours it.
        text: the verdict, in a few words.
        detail: numbers behind it.
    """

    task: str
    tone: Tone
    text: str
    detail: str


def headlines(summary: dict[str, Any]) -> list[Headline]:
    """One verdict per task, at the largest training fraction."""
    return [_headline(summary, task) for task in summary["tasks"]]


def _headline(summary: dict[str, Any], task: str) -> Headline:
    full = fractions(summary)[0]
    rows = [row for row in summary["gains"] if row["task"] == task and row["fraction"] == full]
    if not rows:
        return Headline(task, "open", "not compared", "The study trains it either only alone or only together.")
    gaining, losing, few = (_sorted(rows, verdict) for verdict in ("gains", "loses", "too few seeds"))
    if gaining:
        others = f"; but loses with {_partners_of(losing, task)}" if losing else ""
        best = gaining[0]
        return Headline(
            task, "mixed" if losing else "gains", f"gains from {_partners(best, task)}{others}", _numbers(best)
        )
    if losing:
        neutral = len(rows) > len(losing)
        text = f"loses with {_partners_of(losing, task)}" if neutral else "better alone"
        return Headline(task, "loses", text, _numbers(losing[0]))
    if few:
        return Headline(task, "open", "too few seeds to say", _few(summary, few))
    largest = max(rows, key=lambda row: abs(row["percent"] or 0.0))
    return Headline(task, "open", "no evidence that partners matter", f"Largest change: {_numbers(largest)}")


def _sorted(rows: list[dict[str, Any]], verdict: str) -> list[dict[str, Any]]:
    """Rows of the verdict, the clearest change first."""
    chosen = [row for row in rows if row["verdict"] == verdict]
    return sorted(chosen, key=lambda row: -abs(row["percent"] or 0.0))


def _partners(row: dict[str, Any], task: str) -> str:
    partners = [name for name in row["subset"] if name != task]
    return " + ".join(partners)


def _partners_of(rows: list[dict[str, Any]], task: str) -> str:
    return " or with ".join(_partners(row, task) for row in rows)


def _numbers(row: dict[str, Any]) -> str:
    change = "no number" if row["percent"] is None else f"{signed(row['percent'])} %"
    interval = percent_interval(row["percent_ci95"])
    return (
        f"{change} test RMSE in {label(row['subset'])} against alone "
        f"(95 % interval {interval}; Holm-corrected p {_equation(row['p_holm'])}; {row['units']} {_unit(row)})"
    )


def _unit(row: dict[str, Any]) -> str:
    return "splits" if row["variance"].startswith("seeds and splits") else "paired seeds"


def _equation(p: float | None) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _few(summary: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    most = max(row["units"] for row in rows)
    shown = [f"{label(row['subset'])} {signed(row['percent'])} %" for row in rows if row["percent"] is not None]
    seen = f" So far: {', '.join(shown)}." if shown else ""
    return f"{most} matched; a verdict needs {summary['confidence']['min_units']}.{seen}"
