"""Every weighting of the tasks, with each choice of options that makes it a different method."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

from ensemble_mtl.config import registry

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "curvature": [{"graphs": 5}, {"of": "eigenvalue", "graphs": 5, "every": 2, "power": 0.5}],
    "torchjd": [{"aggregator": name} for name in ("upgrad", "pcgrad", "mgda", "cagrad")],
}
NEEDED = {"upgrad": "quadprog", "cagrad": "cvxpy"}
"""Aggregator -> package that it needs besides torchjd."""


def needed(options: dict[str, Any]) -> pytest.MarkDecorator:
    """Return a mark that skips a test where the aggregator's packages are not installed."""
    names = [name for name in ("torchjd", NEEDED.get(options.get("aggregator", ""))) if name]
    missing = "aggregator" in options and any(find_spec(name) is None for name in names)
    return pytest.mark.skipif(missing, reason=f"needs {' and '.join(names)}")


ALL = [
    pytest.param({"name": name, **options}, id="-".join([name, *map(str, options.values())]), marks=needed(options))
    for name in registry.names("train.weighting")
    for options in VARIANTS.get(name, [{}])
]
