"""Figures of what ``ensemble-mtl reproduce NAME`` has left in the study directory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.figure import Figure

from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.report.inputs import Layout, ReportInputs

Record = Mapping[str, Any]


def drawn(
    inputs: ReportInputs, layout: Layout, name: str, of_record: Callable[[Record, Layout], Figure], options: str = ""
) -> Figure | None:
    """The figure of ``NAME.json``; None where there is none.

    Args:
        inputs: the study.
        layout: the medium.
        name: of the reproduction.
        of_record: draws it.
        options: what the command needs besides ``--out``.

    Raises:
        StudyError: the file is something else.
    """
    path = inputs.study.root / f"{name}.json"
    if not path.exists():
        return None
    try:
        return of_record(json.loads(path.read_text()), layout)
    except (ValueError, KeyError, TypeError) as error:
        command = f"ensemble-mtl reproduce {name}"
        raise StudyError(
            f"{path}: no record of `{command}` ({error}); remove it, or make it anew by "
            f"`{command} {options}--out {inputs.study.root}`"
        ) from None
