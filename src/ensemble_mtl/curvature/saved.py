"""Finished probes as a checkpoint keeps them: plain values and tensors."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from ensemble_mtl.study.results import ProbeResult


def plain(probe: ProbeResult) -> dict[str, Any]:
    """For a checkpoint."""
    values = asdict(probe)
    return {**values, "nodes": torch.as_tensor(probe.nodes), "weights": torch.as_tensor(probe.weights)}


def arrays(probe: dict[str, Any]) -> dict[str, Any]:
    """The fields of a :class:`ProbeResult`, from a checkpoint."""
    return {**probe, "nodes": probe["nodes"].numpy(), "weights": probe["weights"].numpy()}
