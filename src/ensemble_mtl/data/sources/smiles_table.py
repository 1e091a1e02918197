"""Chosen columns of a CSV file, plain or gzipped, as text; and conditions that rows must fulfil."""

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
"""Most characters of a line. No table has longer ones, and a small compressed file of one could fill the memory."""
_GZIP = b"\x1f\x8b"
"""The first bytes of a gzipped file."""
_SHOWN_CHARACTERS = 40
"""So much of a malformed field is shown in a message."""
_CONDITION = re.compile(r"\s*(<=|>=|==|!=|<|>)\s*(\S+)\s*")
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip

Condition = Callable[[float], bool]


class Row(NamedTuple):
    """A row with the right number of fields.

    Attributes:
        line: number of the line of the file where the row ends, from 1.
        fields: fields of the chosen columns, without blanks around them.
    """

    line: int
    fields: list[str]


class CsvTable(NamedTuple):
    """The chosen columns of a CSV file.

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


def read(path: Path, chosen: Sequence[str]) -> CsvTable:
    """Return the columns ``chosen`` of the CSV file ``path``, whose first line names all columns.

    Raises:
        DataError: the file cannot be read, is not a table in CSV, or lacks a column.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; correct data.path")
    try:
        with open(path, "rb") as file:
            is_gzipped = file.read(len(_GZIP)) == _GZIP
            file.seek(0)
            content = cast("IO[bytes]", gzip.open(file)) if is_gzipped else file  # noqa: SIM115 - closed below
            # utf-8-sig: spreadsheets put a byte order mark before the first name
            with content as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
                return _read(path.name, text, chosen)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: this is a damaged archive ({error}); copy it again from its source") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: this is not a text file ({error.reason} at byte {error.start}), expected a table in CSV and "
            "UTF-8; check data.path"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read ({error.strerror or error}); check data.path") from None


def _read(name: str, text: io.TextIOWrapper, chosen: Sequence[str]) -> CsvTable:
    reader = csv.reader(_lines(name, text))
    try:
        header = [column.strip() for column in next(reader, [])]
        if not header:
            raise DataError(f"{name}:1: got an empty line, expected the names of the columns; add them")
        for column in chosen:
            if column not in header:
                raise DataError(f"{name}:1: there is no such column: {unknown(column, list(dict.fromkeys(header)))}")
        counts = Counter(header)
        where = {column: [k for k, own in enumerate(header) if own == column] for column in chosen}
        table = CsvTable([], [], [column for column, count in counts.items() if count > 1], [])
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
        raise DataError(
            f"{name}:{reader.line_num}: this is not CSV ({error}), expected fields separated by commas; correct it"
        ) from None


def _lines(name: str, text: io.TextIOWrapper) -> Iterator[str]:
    """Yield the lines of the file ``name``; DataError if one is too long."""
    line_number = 0
    while line := text.readline(MAX_LINE):
        line_number += 1
        if len(line) == MAX_LINE:
            raise DataError(
                f"{name}:{line_number}: the line is longer than {MAX_LINE} characters, expected a table in CSV; "
                "check data.path"
            )
        yield line


def number(text: str, missing: Sequence[str]) -> float:
    """Return the number that ``text`` represents, or NaN if it is blank or one of the texts in ``missing``.

    Raises:
        ValueError: the text is not a finite number; the message says what was expected.
    """
    if not text or text in missing:
        return math.nan
    try:
        value = math.nan if "_" in text else float(text)  # Python reads 1_0 as a number, which is a typing error here
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
    raise ValueError(
        f"got {shown!r}, expected a finite number, or nothing if it is missing (list other marks as data.missing)"
    )


def condition(text: str) -> Condition:
    """Return the function that tells whether a value fulfils the condition ``text``.

    Args:
        text: a comparison such as ``>= 0``, or several as in ``> 0 and <= 1``. A missing value fulfils no condition.

    Raises:
        ValueError: the text is not a condition; the message says what was expected.
    """
    parts: list[tuple[Callable[[float, float], bool], float]] = []
    for part in text.split(" and "):
        match = _CONDITION.fullmatch(part)
        try:
            limit = float(match[2]) if match else math.nan
        except ValueError:
            limit = math.nan
        if not match or not math.isfinite(limit):
            raise ValueError(f"got {text!r}, expected a comparison such as '>= 0', or several joined by 'and'")
        parts.append((_COMPARISONS[match[1]], limit))
    return lambda value: not math.isnan(value) and all(compare(value, limit) for compare, limit in parts)
