"""Results of probes that are made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from ensemble_mtl.study.results import ProbeResult

PLAIN: dict[str, Any] = {
    "task": "H", "epoch": 0, "num_parameters": 10, "num_graphs": 4, "reduction": "mean", "loss": 0.1,
    "trace": 1.0, "trace_sem": 0.1, "trace_degrees": 9, "trace_samples": 10, "trace_seconds": 0.05,
    "frobenius": 1.0, "frobenius_sem": float("nan"), "frobenius_runs": [1.0], "eigenvalues": [], "residuals": [],
    "eig_min": 0.0, "eig_max": 1.0, "eig_min_error": 0.0, "eig_max_error": 0.0, "orthogonality": 0.0,
    "num_matvecs": 10, "seconds": 0.1, "nodes": np.ones((1, 1)), "weights": np.ones((1, 1)), "pairs": {},
}  # fmt: skip


def probe_result(**values: Any) -> ProbeResult:
    """Return a result with these values, and those of :data:`PLAIN` for all other fields."""
    return ProbeResult(**{**PLAIN, **values})
