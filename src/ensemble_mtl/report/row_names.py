"""The words by which rows of tables, and headings beside them, name subsets, tasks, shares and numbers of members."""

from __future__ import annotations

from ensemble_mtl.analysis.summary import Summary
from ensemble_mtl.analysis.summary_rows import SubsetRow, TaskRow
from ensemble_mtl.study.plan import Subset, label


def subset_name(subset: Subset) -> str:
    """``MTL, HCM`` for several tasks or ``STL, H`` for one, as in Table 1 of Lupo Pasini 2022."""
    return f"{'MTL' if len(subset) > 1 else 'STL'}, {label(subset)}"


def subset_row_name(summary: Summary, row: SubsetRow) -> str:
    """The name of a row about a subset, such as ``MTL, HCM at 50%``."""
    return f"{subset_name(row.subset)} {at_fraction(summary, row)}".rstrip()


def task_row_name(summary: Summary, row: TaskRow) -> str:
    """The name of a row about a task of a subset, such as ``H in HCM at 50%`` or ``H alone``."""
    where = f"in {label(row.subset)}" if len(row.subset) > 1 else "alone"
    return f"{row.task} {where} {at_fraction(summary, row)}".rstrip()


def at_fraction(summary: Summary, row: SubsetRow) -> str:
    """The share of the training part, such as ``at 50%``; empty where the study has only one."""
    return "" if len(summary.fractions) == 1 else f"at {row.fraction:.0%}"


def member_count(members: int, planned: int) -> str:
    """``(k/n)`` where only k of n planned members have a result; empty where all have one."""
    return "" if members == planned else f"({members}/{planned})"
