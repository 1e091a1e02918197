"""What every way of splitting gives, and the options that all of them have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import field_validator

from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.graph import IntArray

PARTS = ("train", "val", "test")
_SUM_TOLERANCE = 1e-9


class SplitOptions(registry.Options):
    """Options of every split."""

    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    """Shares of the training, validation and test part; they sum to 1."""
    group: Literal["none", "arrangement", "symmetry"] = "none"
    """Which graphs stay together: none, those with equal atoms on equal sites (or, without positions, equal
    atoms and bonds), or those that a symmetry of the lattice maps onto each other as well (needs the cell)."""

    @field_validator("fractions")
    @classmethod
    def _shares_of_one(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if not all(share > 0 for share in value) or abs(sum(value) - 1) > _SUM_TOLERANCE:
            raise ValueError("expected three positive shares (train, val, test) that sum to 1")
        return value


@dataclass(frozen=True)
class Split:
    """Indices into the store; disjoint, and together all graphs.

    Attributes:
        train: ``[n]`` in random order, so that each prefix is a random sample.
        val: ``[n]``, ascending.
        test: ``[n]``, ascending.
    """

    train: IntArray
    val: IntArray
    test: IntArray

    @property
    def parts(self) -> dict[str, IntArray]:
        """The parts by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def to_json(self) -> dict[str, Any]:
        """The split as JSON values."""
        return {name: part.tolist() for name, part in self.parts.items()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Split:
        """The split that :meth:`to_json` gave.

        Raises:
            DataError: it is not a split.
        """
        try:
            found = cls(*(np.array(value[name], dtype=np.int64) for name in PARTS))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a split ({type(error).__name__}: {error}); delete the file to draw it anew") from None
        every = np.sort(np.concatenate(list(found.parts.values())))
        if not np.array_equal(every, np.arange(len(every))):
            raise DataError("not a split: a graph is missing or in two parts; delete the file to draw it anew")
        return found
