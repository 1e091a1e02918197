"""Whether MPI is here and was started well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ensemble_mtl.core.errors import ConfigError
from ensemble_mtl.launch.started import SIZES

START = "mpiexec -n 4 python -P -m mpi4py -m ensemble_mtl run CONFIG --launcher mpi"


def load() -> Any:
    """The module ``mpi4py.MPI``, which joins the job as it is imported.

    Raises:
        ConfigError: mpi4py or the MPI library is not installed.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ConfigError(
            f"launch.launcher: mpi needs mpi4py and an MPI library, and there is none ({error}); "
            "try pip install 'ensemble-mtl[mpi]', or load the site's MPI module"
        ) from None
    return MPI


def wrong_start(size: int, environment: Mapping[str, str]) -> str:
    """Why ``size`` processes cannot be all that were started; empty if they can.

    Started by the wrong launcher, each process is alone in a world of its own, and would do
    the whole study.
    """
    name = next((name for name in SIZES if environment.get(name)), None)
    if name is None:
        return "" if size > 1 else f"launch.launcher: mpi, but this process was started alone; start it with `{START}`"
    if environment[name] == str(size):
        return ""
    start = "`srun --mpi=pmi2` or the `mpiexec` of the same MPI" if name.startswith("SLURM") else "that MPI's `mpiexec`"
    return (
        f"launch.launcher: mpi, got {size} process(es) in this MPI job, expected {environment[name]} ({name}): "
        f"they were not started by the MPI that mpi4py uses here; start them with {start}, as in `{START}`"
    )
