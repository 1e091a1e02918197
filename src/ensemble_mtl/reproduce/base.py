"""The interface of the reproductions of published examples.

A reproduction has the name of its file, with ``-`` for ``_``. It imports no large library before it computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ensemble_mtl.config import registry
from ensemble_mtl.report.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ensemble_mtl.analysis.json_model import JsonModel


@dataclass(frozen=True)
class Reproduced:
    """The outcome of a reproduction.

    Attributes:
        agrees: whether the computed numbers are the expected ones, within the error that the module states.
        verdict: a sentence that says how well they agree.
        tables: the computed numbers beside the expected ones.
        record: all numbers, as they are written to ``NAME.json``.
        figure: the published figure, drawn from the computed numbers.
    """

    agrees: bool
    verdict: str
    tables: tuple[Table, ...]
    record: JsonModel
    figure: Figure


class Reproduction(Protocol):
    """A module with one published example."""

    Options: type[registry.Options]
    """Each field becomes an option of the command line, with its ``description`` as help."""
    SUMMARY: str
    """One line that says what is reproduced."""

    def compute(self, options: Any) -> Reproduced:
        """Compute the example with this project's code, and compare it with the published or exact numbers.

        Args:
            options: an instance of the module's ``Options``.
        """


FAMILY = registry.Family[Reproduction]("reproduce", Reproduction)
