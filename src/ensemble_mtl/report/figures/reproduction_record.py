"""Drawing a figure from the record that ``ensemble-mtl reproduce NAME`` writes to a study directory."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from ensemble_mtl.analysis import json_model
from ensemble_mtl.analysis.json_model import Model
from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.report.inputs import PageLayout, ReportInputs


def drawn(
    inputs: ReportInputs,
    layout: PageLayout,
    name: str,
    model: type[Model],
    of_record: Callable[[Model, PageLayout], Figure],
    options: str = "",
) -> Figure | None:
    """The figure of the record ``NAME.json``; None if the study directory does not hold it.

    Args:
        inputs: the study.
        layout: the layout of the page.
        name: the name of the reproduction.
        model: the type of the record.
        of_record: the function that draws the record.
        options: the options that the command needs besides ``--out``, for the error message.

    Raises:
        StudyError: the file is no such record.
    """
    path = inputs.study.root / f"{name}.json"
    if not path.exists():
        return None
    try:
        record = json_model.parse(path.read_bytes(), model)
    except ValueError as error:
        command = f"ensemble-mtl reproduce {name}"
        raise StudyError(
            f"{path}: no record of `{command}` ({error}); remove it, or write it again with "
            f"`{command} {options}--out {inputs.study.root}`"
        ) from None
    return of_record(record, layout)
