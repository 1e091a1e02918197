"""The summary on disk: ``summary.json``, and its test errors as ``summary.csv``."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from ensemble_mtl.analysis import json_model
from ensemble_mtl.analysis.summary import VERSION, Summary
from ensemble_mtl.core.errors import IncompleteStudyError, StoreError
from ensemble_mtl.core.storage import atomic
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import label

CSV_COLUMNS = (
    "subset", "task", "metric", "fraction", "unit", "members", "planned",
    "mean", "std", "sem", "ci95_low", "ci95_high",
)  # fmt: skip


def write_summary(study: Study, summary: Summary) -> None:
    """Write ``summary.json`` and ``summary.csv`` (one row per cell) to the study directory, each atomically.

    Raises:
        OSError: the study directory cannot be written; the former files are untouched.
    """
    atomic.write_json(study.root / "summary.json", summary.model_dump(mode="json"))
    atomic.write_text(study.root / "summary.csv", to_csv(summary))


def load(path: Path) -> Summary:
    """Read the ``summary.json`` at ``path``.

    Raises:
        IncompleteStudyError: the file does not exist.
        StoreError: the file cannot be read, has another version, or is damaged; the message says where.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise IncompleteStudyError(f"{path}: no summary yet; gather the study first") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); check the file, or gather the study again") from None
    if (version := _version(text)) not in (None, VERSION):
        raise StoreError(f"{path}: got a summary of version {version}, expected {VERSION}; gather the study again")
    try:
        return json_model.parse(text, Summary)
    except ValueError as error:
        raise StoreError(f"{path}: not a summary of version {VERSION}: {error}; gather the study again") from None


def to_csv(summary: Summary) -> str:
    """The test errors as CSV, one row per cell; an undefined number is an empty field."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(CSV_COLUMNS)
    for cell in summary.cells:
        error = cell.error
        low, high = error.ci95 or (None, None)
        table.writerow((
            label(cell.subset), cell.task, cell.metric, cell.fraction, cell.unit, error.members, cell.planned,
            error.mean, error.std, error.sem, low, high,
        ))  # fmt: skip
    return text.getvalue()


def _version(text: str) -> object:
    """The version that the text of a summary states; None if it states none, or is no JSON object."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content.get("version") if isinstance(content, dict) else None
