"""Scaling of the values of one column to a common range, and back to physical units."""

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
        method: how ``shift`` and ``scale`` are computed from the values.
    """

    shift: float
    scale: float
    method: Method

    def forward(self, x: FloatArray) -> FloatArray:
        """Return the scaled values of physical ones, in any shape; NaN stays NaN."""
        return (np.asarray(x, dtype=np.float64) - self.shift) / self.scale

    def inverse(self, x: FloatArray) -> FloatArray:
        """Return the physical values of scaled ones, in any shape; NaN stays NaN."""
        return np.asarray(x, dtype=np.float64) * self.scale + self.shift

    def to_json(self) -> dict[str, Any]:
        """Return the normaliser as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Normalizer:
        """Return the normaliser from the values of :meth:`to_json`."""
        return cls(float(value["shift"]), float(value["scale"]), value["method"])


def fit(values: FloatArray, method: Method, name: str) -> Normalizer:
    """Return the normaliser of the column ``name`` by its values, without missing ones (NaN).

    Args:
        values: values of the column in its physical unit, in any shape.
        method: ``minmax`` maps to [0, 1]; ``standard`` maps to mean 0 and standard deviation 1 (ddof 0).
        name: the column's name, for messages.

    Raises:
        DataError: there is no value, a value is infinite, or all values are equal, so there is nothing to learn.
    """
    present = np.asarray(values, dtype=np.float64)
    present = present[~np.isnan(present)]
    if not present.size:
        raise DataError(f"{name}: no graph of this part has a value, expected at least two different ones; add data")
    low, high = float(present.min()), float(present.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise DataError(f"{name}: got infinite values, expected finite ones; leave their graphs out")
    if high - low < np.finfo(np.float64).tiny:
        raise DataError(
            f"{name}: constant, all {present.size} values are {low:g}, expected at least two different ones; there is "
            "nothing to learn: remove it from the tasks, or use more varied data"
        )
    if method == "minmax":
        return Normalizer(low, high - low, method)
    # The minimum is subtracted first: a large offset that all values share would otherwise take up the digits in which
    # they differ. Values whose squares are too large or too small for double precision are divided by their range.
    offsets = present - low
    unit = 1.0 if 1e-100 < high - low < 1e100 else high - low
    return Normalizer(low + float(offsets.mean()), unit * float((offsets / unit).std()), method)
