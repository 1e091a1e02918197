"""Numbers as JSON can hold them."""

from __future__ import annotations

import math


def finite_or_none(value: float | None) -> float | None:
    """The ``value``, or None for NaN and infinity, which JSON lacks."""
    return value if value is not None and math.isfinite(value) else None
