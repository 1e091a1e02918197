"""Probes of several members, brought together by the epoch at which they were taken."""

from __future__ import annotations

from collections.abc import Iterable

from ensemble_mtl.analysis.summary_rows import Epoch
from ensemble_mtl.study.results import MemberResult, ProbeResult


def labelled(result: MemberResult, task: str, *, ends: bool) -> list[tuple[Epoch, ProbeResult]]:
    """The member's probes of ``task`` with their epochs, in rising order.

    If ``ends``, the epoch of the last probe is ``"end"``, unless it is 0, before training.
    """
    probes = sorted((probe for probe in result.probes if probe.task == task), key=lambda probe: probe.epoch)
    last = probes[-1].epoch if probes and ends and probes[-1].epoch > 0 else None
    return [("end" if probe.epoch == last else probe.epoch, probe) for probe in probes]


def in_order(epochs: Iterable[Epoch]) -> list[Epoch]:
    """The epochs in rising order; ``"end"`` comes last."""
    return sorted(epochs, key=lambda epoch: float("inf") if epoch == "end" else epoch)
