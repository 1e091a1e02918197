"""What every way of splitting gives, and the options that all of them have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from pydantic import field_validator

from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.graph import IntArray

if TYPE_CHECKING:
    from ensemble_mtl.data.columns import GraphStore

PARTS = ("train", "val", "test")
_SUM_TOLERANCE = 1e-9


class SplitOptions(registry.Options):
    """Options of every split."""

    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    """Shares of the training, validation and test part; they sum to 1."""
    group: Literal["none", "arrangement", "symmetry"] = "none"
    """Which graphs stay together in one part: none; those with equal atoms on equal sites (or, without positions,
    equal atoms and bonds); or also those that a symmetry of the lattice maps onto each other (needs the cell)."""

    @field_validator("fractions")
    @classmethod
    def _shares_of_one(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if not all(share > 0 for share in value) or abs(sum(value) - 1) > _SUM_TOLERANCE:
            raise ValueError("expected three positive shares (train, val, test) that sum to 1")
        return value


@dataclass(frozen=True)
class Split:
    """Which graphs of a store train, validate and test, as indices; every graph is in exactly one part.

    Attributes:
        train: ``[n]`` graphs of the training part in random order, so that each prefix is a random sample.
        val: ``[n]`` graphs of the validation part, ascending.
        test: ``[n]`` graphs of the test part, ascending.
    """

    train: IntArray
    val: IntArray
    test: IntArray

    @property
    def parts(self) -> dict[str, IntArray]:
        """The parts by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def to_json(self) -> dict[str, Any]:
        """Return the split as JSON values."""
        return {name: part.tolist() for name, part in self.parts.items()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Split:
        """Return the split from the values of :meth:`to_json`.

        Raises:
            DataError: the values are not those of a split.
        """
        try:
            found = cls(*(np.array(value[name], dtype=np.int64) for name in PARTS))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"split: got values that are not a split ({type(error).__name__}: {error}), expected lists of graphs; "
                "delete the file to draw it anew"
            ) from None
        every = np.sort(np.concatenate(list(found.parts.values())))
        if not np.array_equal(every, np.arange(len(every))):
            raise DataError(
                "split: got values that are not a split, since a graph is in no part or in two, expected each graph in "
                "one part; delete the file to draw it anew"
            )
        return found


class Splitter(Protocol):
    """A module that divides graphs in one way."""

    Options: type[SplitOptions]

    def split(self, store: GraphStore, options: Any, seed: int) -> Split:
        """The parts of all graphs of ``store``, the same for the same ``seed``.

        Raises:
            DataError: a part would be empty, or graphs cannot be grouped as ``options.group`` asks.
        """


FAMILY = registry.Family[Splitter]("data.split", Splitter)
