"""The structure of every table, its forms for a terminal and for Markdown, and how numbers are written in it.

The page has its own template, ``report.html``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Group

ABSENT = "–"


@dataclass(frozen=True)
class Cell:
    """Text of one cell; ``best`` marks it in bold, ``note`` is small print after it."""

    text: str = ABSENT
    best: bool = False
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its caption; the first column names the row.

    Attributes:
        title: the heading above the table.
        caption: a text below it that explains its numbers and their errors.
        header: the heading of each column.
        rows: the cells of each row, as many as there are columns.
    """

    title: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def to_markdown(table: Table) -> str:
    """The table as GitHub-flavoured Markdown, title and caption included."""
    lines = [
        f"**{_plain(table.title)}**",
        "",
        _line(_plain(entry) for entry in table.header),
        _line([":--", *["--:"] * (len(table.header) - 1)]),
        *(_line(_markdown_cell(cell) for cell in row) for row in table.rows),
        "",
        _plain(table.caption),
    ]
    return "\n".join(lines) + "\n"


def to_rich(table: Table) -> Group:
    """The table for a terminal; brackets in a text are shown as they are, and not read as rich's markup."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for index, entry in enumerate(table.header):
        grid.add_column(Text(entry), justify="right" if index else "left", no_wrap=not index)
    for row in table.rows:
        texts = []
        for cell in row:
            text = Text(cell.text, "bold" if cell.best else "")
            texts.append(text.append(f" {cell.note}", "dim not bold") if cell.note else text)
        grid.add_row(*texts)
    return Group(Text(table.title, "bold"), grid, Text(table.caption, "dim"), Text())


def show(tables: Iterable[Table]) -> None:
    """Print the tables to the standard output."""
    from rich.console import Console

    console = Console()
    for table in tables:
        console.print(to_rich(table))


def scientific(value: float | None, digits: int = 3) -> str:
    """The value with ``digits`` significant digits and a power of ten without leading zeros, such as ``7.54e-3``."""
    if value is None:
        return ABSENT
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def plus_minus(mean: float | None, std: float | None) -> str:
    """Mean and deviation in the form of Table 1, ``7.54e-3 ± 8.70e-4``; the mean alone if it has no deviation."""
    if mean is None:
        return ABSENT
    return scientific(mean) if std is None else f"{scientific(mean)} ± {scientific(std)}"


def readable(mean: float | None, std: float | None) -> str:
    """Mean and deviation such as ``0.1234 ± 0.0056``: two digits of the deviation, or powers of ten if that is long."""
    if mean is None:
        return ABSENT
    size = max(abs(mean), abs(std or 0.0))
    if not 1e-3 <= size < 1e5:
        return plus_minus(mean, std)
    scale = std or abs(mean) / 10
    decimals = min(6, max(0, 1 - math.floor(math.log10(scale))))
    return f"{mean:.{decimals}f}" if std is None else f"{mean:.{decimals}f} ± {std:.{decimals}f}"


def percent_interval(interval: tuple[float, float] | None) -> str:
    """An interval in per cent, such as ``−41 … −29 %``; a dash for None."""
    return ABSENT if interval is None else f"{signed(interval[0])} … {signed(interval[1])} %"


def seconds(value: float | None, std: float | None = None) -> str:
    """A duration in s, min or h, whichever suits its size, such as ``3.2 ± 0.4 s`` or ``2.05 ± 0.10 h``."""
    if value is None:
        return ABSENT
    unit, size = ("h", 3600.0) if value >= 7200 else ("min", 60.0) if value >= 300 else ("s", 1.0)
    return f"{readable(value / size, None if std is None else std / size)} {unit}"


def fixed(value: float, decimals: int) -> str:
    """The value with so many ``decimals``, and a minus sign in place of a hyphen."""
    return f"{value:.{decimals}f}".replace("-", "−")


def signed_percent(value: float | None) -> str:
    """A change in per cent, such as ``−35 %``; a dash for None."""
    return ABSENT if value is None else f"{signed(value)} %"


def signed(value: float | None, digits: int = 2) -> str:
    """The value with its sign and so many significant ``digits``, such as ``−35`` or ``+0.62``; a dash for None."""
    if value is None:
        return ABSENT
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    text = f"{abs(value):.{min(decimals, 6)}f}"
    return f"{'−' if value < 0 else '+'}{text}"


def p_value(value: float | None) -> str:
    """A p-value such as ``0.031`` or ``< 0.001``, with enough digits not to be rounded to the other side of 0.05."""
    if value is None:
        return ABSENT
    if value < 1e-3:
        return "< 0.001"
    digits = next((digits for digits in range(3, 6) if (round(value, digits) < 0.05) == (value < 0.05)), 6)
    return f"{value:.{digits}f}"


def _line(entries: Iterable[str]) -> str:
    return "| " + " | ".join(entries) + " |"


def _markdown_cell(cell: Cell) -> str:
    text = f"**{_plain(cell.text)}**" if cell.best else _plain(cell.text)
    return f"{text} {_plain(cell.note)}" if cell.note else text


def _plain(text: str) -> str:
    """The text on one line, escaped so that Markdown shows it as it is."""
    for mark in ("\\", "`", "*", "_", "|", "<", "[", "]"):
        text = text.replace(mark, "&lt;" if mark == "<" else f"\\{mark}")
    return " ".join(text.split())
