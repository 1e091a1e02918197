"""Finished probes in the form in which a checkpoint keeps them: plain values and tensors instead of NumPy's arrays."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from ensemble_mtl.study.results import ProbeResult


def plain(probe: ProbeResult) -> dict[str, Any]:
    """The fields of a probe's result for a checkpoint, with tensors in place of arrays."""
    values = asdict(probe)
    return {**values, "nodes": torch.as_tensor(probe.nodes), "weights": torch.as_tensor(probe.weights)}


def arrays(probe: dict[str, Any]) -> dict[str, Any]:
    """The fields of a :class:`ProbeResult` from a checkpoint, with arrays in place of tensors."""
    return {**probe, "nodes": probe["nodes"].numpy(), "weights": probe["weights"].numpy()}
