"""Stands in for numba where it does not run with the numpy at hand; no compiled loop is needed on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

STAND_IN = True
__version__ = "stand-in"
prange = range


def njit(*functions: Callable[..., Any], **options: Any) -> Any:
    """The function as it is, whether ``njit`` is written with options or without."""
    return functions[0] if functions else lambda function: function


jit = njit
