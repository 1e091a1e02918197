"""Scaling of one column to a common range, and back to physical units."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.graph import FloatArray

Method = Literal["minmax", "standard"]


@dataclass(frozen=True)
class Normalizer:
    """``forward(x) = (x - shift) / scale`` in float64.

    Attributes:
        shift: minimum (``minmax``) or mean (``standard``), in the column's unit.
        scale: range (``minmax``) or standard deviation (``standard``), in the column's unit.
        method: how the two were found.
    """

    shift: float
    scale: float
    method: Method

    def forward(self, x: FloatArray) -> FloatArray:
        """From physical to scaled values; any shape, NaN stays NaN."""
        return (np.asarray(x, dtype=np.float64) - self.shift) / self.scale

    def inverse(self, x: FloatArray) -> FloatArray:
        """From scaled to physical values; any shape, NaN stays NaN."""
        return np.asarray(x, dtype=np.float64) * self.scale + self.shift

    def to_json(self) -> dict[str, Any]:
        """The normaliser as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Normalizer:
        """The normaliser that :meth:`to_json` gave."""
        return cls(float(value["shift"]), float(value["scale"]), value["method"])


def fit(values: FloatArray, method: Method, name: str) -> Normalizer:
    """The scaling of the column ``name`` from its values, missing ones (NaN) left out.

    Args:
        values: of any shape.
        method: ``minmax`` maps to [0, 1]; ``standard`` to mean 0, deviation 1 (ddof 0).
        name: the column's name, for messages.

    Raises:
        DataError: there is no value, or all values are equal, so there is nothing to learn.
    """
    present = np.asarray(values, dtype=np.float64)
    present = present[~np.isnan(present)]
    if not present.size:
        raise DataError(f"{name}: no graph of this part has a value; expected at least two different ones")
    low, high = float(present.min()), float(present.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise DataError(f"{name}: got infinite values, expected finite ones; leave those graphs out")
    if high - low < np.finfo(np.float64).tiny:
        raise DataError(
            f"{name}: constant, all {present.size} values are {low:g}; there is nothing to learn: "
            "remove it from the tasks, or use more varied data"
        )
    if method == "minmax":
        return Normalizer(low, high - low, method)
    # about the minimum first, so that a large common offset does not eat the digits
    centred = present - low
    unit = 1.0 if 1e-100 < high - low < 1e100 else high - low  # else squares would leave the range of numbers
    return Normalizer(low + float(centred.mean()), unit * float((centred / unit).std()), method)
