"""What the environment says of how many processes were started together, and which of them this is."""

from __future__ import annotations

import socket
from collections.abc import Mapping

RANKS = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "JSM_NAMESPACE_RANK")
"""Variables in which MPI launchers number their processes."""
ANY_RANKS = (*RANKS, "SLURM_PROCID")
"""Also for processes that are no MPI ranks; last, since a batch job has Slurm's in any case."""
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "JSM_NAMESPACE_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
"""Variables in which launchers say how many processes they start; one inside another's job sets an earlier one."""

LOCAL_RANKS = (
    "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "PALS_LOCAL_RANKID", "JSM_NAMESPACE_LOCAL_RANK", "SLURM_LOCALID",
)  # fmt: skip
"""Variables in which launchers number the processes of a host."""


def number_in(environment: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    """The first of the variables ``names`` that is a number."""
    return next((int(environment[name]) for name in names if environment.get(name, "").isdigit()), None)


def refusal(host: str, port: int) -> str:
    """Why nobody answers there; empty if somebody does."""
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
