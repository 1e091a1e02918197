"""What every reproduction offers.

* ``Options(registry.Options)`` — each field becomes an option of the command line, with its ``description`` as help;
* ``SUMMARY`` — one line, what it reproduces;
* ``compute(options) -> Reproduced``.

Its file is named as it is called, with ``_`` for ``-``, and loads nothing heavy before it computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensemble_mtl.report.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Reproduced:
    """What came of it.

    Attributes:
        agrees: whether it is what is known, within the error that its module states.
        verdict: one sentence.
        tables: what is known beside what was found.
        record: all numbers, as JSON values.
        figure: the published figure, drawn anew.
    """

    agrees: bool
    verdict: str
    tables: tuple[Table, ...]
    record: Mapping[str, Any]
    figure: Figure
