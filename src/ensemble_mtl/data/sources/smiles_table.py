"""Chosen columns of a CSV file, plain or gzipped, as text; conditions on rows."""

from __future__ import annotations

import csv
import gzip
import io
import math
import operator
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple, cast

from ensemble_mtl.config.registry import unknown
from ensemble_mtl.core.errors import DataError

MAX_LINE = 1 << 20
"""Characters of a line; a longer one is no table's, and a small archive of it could fill the memory."""
_GZIP = b"\x1f\x8b"
_SHOWN = 40
_CONDITION = re.compile(r"\s*(<=|>=|==|!=|<|>)\s*(\S+)\s*")
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip

Condition = Callable[[float], bool]


class Row(NamedTuple):
    """A row with the right number of fields.

    Attributes:
        line: of the file where it ends, from 1.
        fields: those of the chosen columns, without blanks around them.
    """

    line: int
    fields: list[str]


class Table(NamedTuple):
    """What was read.

    Attributes:
        rows: in the file's order; blank lines are left out.
        faults: (line, reason) of rows with another number of fields than the header.
        repeated: names that stand more than once in the header.
        unequal: those of the chosen columns among ``repeated`` whose copies differ.
    """

    rows: list[Row]
    faults: list[tuple[int, str]]
    repeated: list[str]
    unequal: list[str]


def read(path: Path, chosen: Sequence[str]) -> Table:
    """The columns ``chosen`` of a CSV file; the first line names all columns.

    Raises:
        DataError: it cannot be read, is not such a table, or lacks a column.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; correct data.path")
    try:
        with open(path, "rb") as file:
            packed = file.read(len(_GZIP)) == _GZIP
            file.seek(0)
            opened = cast("IO[bytes]", gzip.open(file)) if packed else file  # noqa: SIM115 - closed below
            # utf-8-sig: spreadsheets put a byte order mark before the first name
            with opened as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
                return _read(path.name, text, chosen)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged archive ({error}); copy it again from its source") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error.reason} at byte {error.start}); expected CSV") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _read(name: str, text: io.TextIOWrapper, chosen: Sequence[str]) -> Table:
    reader = csv.reader(_lines(name, text))
    try:
        header = [column.strip() for column in next(reader, [])]
        if not header:
            raise DataError(f"{name}:1: empty, expected the names of the columns")
        for column in chosen:
            if column not in header:
                raise DataError(f"{name}:1: no such column: {unknown(column, list(dict.fromkeys(header)))}")
        counts = Counter(header)
        where = {column: [k for k, own in enumerate(header) if own == column] for column in chosen}
        table = Table([], [], [column for column, count in counts.items() if count > 1], [])
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                table.faults.append((reader.line_num, f"got {len(fields)} fields, expected {len(header)}"))
                continue
            table.rows.append(Row(reader.line_num, [fields[where[column][0]].strip() for column in chosen]))
            for column, places in where.items():
                if len(places) > 1 and column not in table.unequal and len({fields[k].strip() for k in places}) > 1:
                    table.unequal.append(column)
        return table
    except csv.Error as error:
        raise DataError(f"{name}:{reader.line_num}: not CSV ({error}); expected fields separated by commas") from None


def _lines(name: str, text: io.TextIOWrapper) -> Iterator[str]:
    line = 0
    while content := text.readline(MAX_LINE):
        line += 1
        if len(content) == MAX_LINE:
            raise DataError(f"{name}:{line}: longer than {MAX_LINE} characters; expected a table in CSV")
        yield content


def number(text: str, missing: Sequence[str]) -> float:
    """The number that ``text`` is, NaN if it is blank or one of ``missing``.

    Raises:
        ValueError: it is none; the message says what was expected.
    """
    if not text or text in missing:
        return math.nan
    try:
        value = math.nan if "_" in text else float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    raise ValueError(
        f"got {shown!r}, expected a finite number, or nothing if it is missing (data.missing lists other marks)"
    )


def condition(text: str) -> Condition:
    """``>= 0``, or several comparisons as in ``> 0 and <= 1``; a missing value fulfils none.

    Raises:
        ValueError: it is no condition; the message says what was expected.
    """
    parts: list[tuple[Callable[[float, float], bool], float]] = []
    for part in text.split(" and "):
        found = _CONDITION.fullmatch(part)
        try:
            limit = float(found[2]) if found else math.nan
        except ValueError:
            limit = math.nan
        if not found or not math.isfinite(limit):
            raise ValueError(f"got {text!r}, expected a comparison such as '>= 0', or several joined by 'and'")
        parts.append((_COMPARISONS[found[1]], limit))
    return lambda value: not math.isnan(value) and all(compare(value, limit) for compare, limit in parts)
