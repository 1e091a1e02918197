"""Options of the Ray launcher."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from ensemble_mtl.config import registry


class Options(registry.Options):
    """Options of the Ray launcher.

    Attributes:
        address: ``host:port`` of a running cluster's head, or ``auto`` for the one of this machine; if left out,
            the environment's ``RAY_ADDRESS``, else a private cluster on this machine.
        cpus_per_shard: CPUs that a shard takes; it uses one.
        gpus_per_shard: share of a GPU that a shard takes; 0.25 puts four shards on each GPU. ``auto`` is a
            whole one if the cluster has any and ``train.device`` allows it.
        connect_seconds: how long to wait for a running cluster's head.
    """

    name: Literal["ray"] = "ray"
    address: str | None = None
    cpus_per_shard: PositiveFloat = 1.0
    gpus_per_shard: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = "auto"
    connect_seconds: PositiveFloat = 60.0
