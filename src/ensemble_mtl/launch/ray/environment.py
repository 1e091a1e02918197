"""The package ``ray``, loaded into an environment that is quiet and private."""

from __future__ import annotations

import importlib
import os
import secrets
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ensemble_mtl.core.errors import ConfigError
from ensemble_mtl.core.runtime.this_process import SAFE_PATH, set_variables, signals_handled, signals_restored
from ensemble_mtl.launch.base import SCHEDULER_SIGNALS

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "error",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",
}
"""No usage statistics, errors only, and workers that are not put behind all else (Ray's default is 15)."""
OBJECT_STORE_BYTES = 80_000_000
"""Shards exchange a few kilobytes; this is about the least that Ray accepts."""


def write_token(path: Path) -> None:
    """Write a fresh token that only this user can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))


def short_folder() -> Path:
    """A new one for the sockets of a node, whose names may have 107 characters."""
    return Path(tempfile.mkdtemp(prefix="emtl-ray-"))


def private_folder() -> Path:
    """The folder of a private cluster, with its token."""
    folder = short_folder()
    write_token(folder / "token")
    return folder


def set_environment(private: Path | None) -> dict[str, str | None]:
    """Set the environment for ``ray``, which reads it when it is loaded.

    Args:
        private: the folder of a private cluster; None if a running one is joined.

    Returns:
        what was set before, of what only a private cluster needs.
    """
    set_variables({name: value for name, value in QUIET.items() if name not in os.environ})
    if private is None:
        return {}
    # Ray binds what it likes, so that whoever reaches this machine would otherwise run code in it
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(private / "token"), "RAY_AUTH_TOKEN": None}
    return set_variables({**token, **SAFE_PATH, "RAY_ADDRESS": None, "OMP_NUM_THREADS": "1"})


def load() -> Any:
    """The package ``ray``.

    Raises:
        ConfigError: it is not installed.
    """
    loaded = "ray" in sys.modules
    try:
        ray = importlib.import_module("ray")
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ConfigError(
            "launch.launcher: ray is not installed here; pip install 'ensemble-mtl[ray]', or use --launcher local"
        ) from None
    if loaded:  # it has read an earlier environment
        compiled: Any = importlib.import_module("ray._raylet")
        compiled.Config.initialize("")
        compiled.AuthenticationTokenLoader.instance().reset_cache()
    return ray


def job_config() -> Any:
    """Settings of the job with which workers keep their own import path.

    Otherwise they import from the driver's working directory before all else, where a user's ``random.py`` may lie.
    Ray spares only the jobs of its client, whose driver is on another machine; that flag has no other effect here.
    """
    return importlib.import_module("ray.job_config").JobConfig(_client_job=True)


def silence(log: Path) -> None:
    """What raylets say of dead workers goes to the log; the launcher says it in its own words."""

    def write(data: dict[str, Any], *_: object, **__: object) -> None:
        with suppress(OSError), open(log, "a") as file:
            file.write("\n".join(map(str, data["lines"])) + "\n")

    worker: Any = importlib.import_module("ray._private.worker")
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = write


@contextmanager
def signals_kept() -> Iterator[None]:
    """Keep the handlers, which Ray replaces, and make the processes of a private cluster deaf to what schedulers send.

    SIGUSR1 and SIGUSR2 go to every process of a job, and those have no handlers for them.
    """
    if threading.current_thread() is not threading.main_thread():  # which has no handlers to set
        yield
        return
    with signals_restored([signal.SIGTERM]), signals_handled(SCHEDULER_SIGNALS, signal.SIG_IGN):
        yield
