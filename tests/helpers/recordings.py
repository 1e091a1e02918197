"""Training steps that are recorded and replayed, as an epoch does them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from ensemble_mtl.train import recorded


def run_batches(step: recorded.Step, batches: Iterable[Tensor], record: recorded.Record | None) -> None:
    """Do the step with each batch of indices, from a recording where ``record`` makes one."""
    run_step = recorded.RecordedStep(step, record)
    for graphs in batches:
        run_step(graphs)
