"""A connection to a Ray cluster, which may be a private one of this process."""

from __future__ import annotations

import math
import os
import shutil
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemble_mtl.core.errors import ConfigError, StudyError, first_line
from ensemble_mtl.core.runtime.this_process import errors_printed_to, set_variables
from ensemble_mtl.launch.ray.environment import (
    OBJECT_STORE_BYTES,
    job_config,
    load,
    private_folder,
    set_environment,
    signals_kept,
    silence,
)
from ensemble_mtl.launch.started import refusal


@dataclass(frozen=True)
class Node:
    """A living node of the cluster.

    Attributes:
        name: host and address.
        cpus: in total.
        gpus: in total.
    """

    name: str
    cpus: float
    gpus: float

    def slots(self, cpus: float, gpus: float) -> int:
        """How many shards that need ``cpus`` and ``gpus`` run here at a time; a shard's GPU share is of one GPU."""
        by_cpu = math.floor(self.cpus / cpus + 1e-4)
        return min(by_cpu, int(self.gpus) * math.floor(1 / gpus + 1e-4)) if gpus else by_cpu


class Cluster:
    """A connection; one per process.

    Args:
        address: ``host:port`` of a running cluster, ``auto`` for the one of this machine, or
            None for a private one on this machine, which ends with this process.
        seconds: how long to wait for a running cluster's head.
        log: receives what Ray prints.
        gpus: whether a private cluster may have this machine's GPUs.

    Raises:
        ConfigError: there is no such cluster, or it does not let this process in.
    """

    def __init__(self, address: str | None, seconds: float, log: Path, gpus: bool) -> None:
        self.address, self._folder = address, None if address else private_folder()
        self._environment = set_environment(self._folder)
        self.ray: Any = None
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.ray = load()
            with errors_printed_to(log):
                if address is None:
                    with signals_kept():
                        self._start(gpus, log)
                else:
                    self._join(address, seconds)
        except BaseException:
            self.close()
            raise
        self._gcs: str = self.ray.get_runtime_context().gcs_address
        silence(log)

    def nodes(self) -> list[Node]:
        """The living nodes."""
        return [
            Node(
                f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
                node["Resources"].get("CPU", 0.0),
                node["Resources"].get("GPU", 0.0),
            )
            for node in self.ray.nodes()
            if node["Alive"]
        ]

    def answers(self) -> bool:
        """Whether the head lives. Unlike Ray's calls, this one ends soon if it does not."""
        host, port = _host_and_port(self._gcs)
        return not refusal(host, port)

    def close(self) -> None:
        """Leave the cluster; a private one ends."""
        if self.ray:
            self.ray.shutdown()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        set_variables(self._environment)

    def _start(self, gpus: bool, log: Path) -> None:
        try:
            self.ray.init(
                address="local",
                job_config=job_config(),
                num_cpus=len(os.sched_getaffinity(0)),
                num_gpus=None if gpus else 0,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level="ERROR",
                _node_ip_address="127.0.0.1",
                _temp_dir=str(self._folder),
            )
        except Exception as error:
            raise ConfigError(
                f"launch.launcher: a private Ray cluster does not start here "
                f"({first_line(error, with_type=True)}; see {log}); "
                "use --launcher local, or give the address of a running cluster"
            ) from None

    def _join(self, address: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        if address != "auto":
            _wait_for(address, deadline)
        failure: list[BaseException] = []

        def connect() -> None:
            try:
                self.ray.init(address=address, job_config=job_config(), log_to_driver=False, logging_level="ERROR")
            except BaseException as error:
                failure.append(error)

        # Ray itself tries for minutes, and cannot be interrupted
        thread = threading.Thread(target=connect, daemon=True)
        thread.start()
        thread.join(max(deadline - time.monotonic(), 10.0))
        if failure or thread.is_alive():
            reason = first_line(failure[0], with_type=True) if failure else f"no answer within {seconds:.0f} s"
            raise ConfigError(
                f"launch.launcher: cannot join the Ray cluster at {address} ({reason}); check that it runs the "
                f"same versions of ray and Python, and that RAY_AUTH_MODE (here {os.environ.get('RAY_AUTH_MODE')}) and "
                "RAY_AUTH_TOKEN_PATH are the cluster's"
            )


def _wait_for(address: str, deadline: float) -> None:
    host, port = _host_and_port(address)
    started = time.monotonic()
    while reason := refusal(host, port):
        if time.monotonic() > deadline:
            raise ConfigError(
                f"launch.launcher.address: no Ray head answers at {address} within "
                f"{time.monotonic() - started:.0f} s ({reason}); start one with `ray start --head`, correct "
                "launch.launcher.address or RAY_ADDRESS, or leave both out for a private one on this machine"
            )
        time.sleep(0.5)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isdigit():
        raise ConfigError(
            f"launch.launcher.address: got {address!r}, expected host:port of the head, for example 10.0.0.1:6379, "
            "or auto; an http:// address is for `ray job submit`"
        )
    return host.strip("[]"), int(port)


def require(nodes: list[Node], cpus: float, gpus: float, where: str) -> int:
    """How many shards run in the cluster at a time.

    Raises:
        ConfigError: none does, on any node; Ray would wait for ever.
    """
    slots = sum(node.slots(cpus, gpus) for node in nodes)
    if not slots:
        listed = "".join(f"\n  {node.name}: {node.cpus:g} CPU, {node.gpus:g} GPU" for node in nodes)
        raise ConfigError(
            f"launch.launcher: a shard needs {cpus:g} CPU and {gpus:g} GPU (cpus_per_shard, gpus_per_shard), which no "
            f"node of {where} has:{listed or ' it has no node'}\nask for less, or start larger nodes"
        )
    return slots


def refuse_upload(root: Path) -> None:
    """A study must not lie in the folder to which ``ray job submit`` uploads its working directory.

    Raises:
        StudyError: it does.
    """
    if "runtime_resources" in root.parts:
        raise StudyError(
            f"{root}: lies in Ray's copy of the working directory, which is deleted after the job and which other "
            "nodes do not see; give a shared folder with --out, as an absolute path"
        )


def wait_for_nodes(count: int, seconds: int) -> None:
    """Wait until ``count`` nodes of the environment's cluster live; ends the process with 1 if they do not."""
    deadline = time.monotonic() + seconds
    ray = load()
    ray.init(log_to_driver=False, logging_level="ERROR")
    while sum(node["Alive"] for node in ray.nodes()) < count:
        if time.monotonic() > deadline:
            sys.exit(1)
        time.sleep(0.3)
    ray.shutdown()
