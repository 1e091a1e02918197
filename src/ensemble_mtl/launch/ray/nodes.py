"""A Ray cluster inside an allocation: one process per node, and a command that uses it.

``srun --ntasks-per-node=1 python -P -m ensemble_mtl.launch.ray.nodes FOLDER -- ensemble-mtl run CONFIG --launcher ray``

Rank 0 starts the head, waits for the other nodes and runs the command; its exit code is the
command's. The others join, and leave with it. FOLDER must be shared by the nodes: it is where
they find the head. SIGTERM, SIGINT and SIGUSR1 are passed on to the command.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click

from ensemble_mtl.core.errors import EXIT_BAD_INPUT, EXIT_COMPLETE, EXIT_INCOMPLETE, ConfigError, EnsembleMTLError
from ensemble_mtl.core.runtime.this_process import SAFE_PATH
from ensemble_mtl.core.storage import atomic
from ensemble_mtl.launch.ray.environment import write_token
from ensemble_mtl.launch.ray.meeting import Head, Place, Signals, StoppedError
from ensemble_mtl.launch.ray.process import RayNode, exit_code, free_port, host_address, start
from ensemble_mtl.launch.started import ANY_RANKS, SIZES, number_in

LOOK_SECONDS = 0.5
HEAD_SILENCE_SECONDS = 60.0
"""After this long without a head the others leave, and the command is ended."""
LEAVE_SECONDS = 30.0
"""Rank 0 has a signal too; so long its command may take to checkpoint before the others leave."""
REJOINS = 3
_WAIT = "import sys; from ensemble_mtl.launch.ray import cluster as c; c.wait_for_nodes(*map(int, sys.argv[1:]))"


def lead(place: Place, command: list[str]) -> int:
    """Start the head, wait for the others, run the command.

    Returns:
        the command's exit code.

    Raises:
        EnsembleMTLError: the cluster did not come about.
    """
    signals = Signals()
    address = host_address(place.interface)
    port = free_port(address)
    head = Head(f"{address}:{port}", uuid.uuid4().hex[:12])
    write_token(head.token(place.folder))
    environment = head.environment(place.folder)
    without_address = {name: value for name, value in environment.items() if name != "RAY_ADDRESS"}
    node = RayNode(["--head", f"--port={port}", *place.resources()], address, without_address, place.log)
    try:
        _wait_for_head(place, node, head, signals)
        atomic.write_json(place.folder / "head.json", asdict(head))
        _wait_for_nodes(place, node, environment, signals)
        return _run(place, node, command, environment, signals)
    finally:
        head.end(place.folder)
        node.stop()
        head.token(place.folder).unlink(missing_ok=True)


def _wait_for_head(place: Place, node: RayNode, head: Head, signals: Signals) -> None:
    deadline = time.monotonic() + place.seconds
    while not head.answers():
        signals.raise_if_any()
        if node.ended() or time.monotonic() > deadline:
            raise ConfigError(f"{place.name}: the Ray head does not start; {place.log} ends with: {node.last_words()}")
        time.sleep(LOOK_SECONDS)


def _wait_for_nodes(place: Place, node: RayNode, environment: Mapping[str, str], signals: Signals) -> None:
    command = [sys.executable, "-c", _WAIT, str(place.size), str(int(place.seconds))]
    process = start(command, {**environment, **SAFE_PATH}, place.log, signal.SIGKILL)
    try:
        while (code := exit_code(process, LOOK_SECONDS)) is None and not node.ended():
            signals.raise_if_any()
    finally:
        process.kill()
        process.wait()
    if code:
        raise ConfigError(
            f"{place.name}: not all {place.size} nodes have joined within {place.seconds:.0f} s; what Ray says on each "
            f"is in {place.folder}/ray-*.log; is there a firewall between them, or should --interface be another?"
        )


def _run(place: Place, node: RayNode, command: list[str], environment: Mapping[str, str], signals: Signals) -> int:
    signals.raise_if_any()
    try:
        process = start(command, environment, None, signal.SIGTERM)
    except OSError as error:
        raise ConfigError(f"{command[0]}: cannot be started ({error.strerror})") from None
    signals.receiver = process
    try:
        signals.raise_if_any()  # came before there was a receiver
    except StoppedError:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    while not node.ended():
        if (code := exit_code(process, LOOK_SECONDS)) is not None:
            return code
    click.echo(f"{place.name}: the Ray head has ended; {place.log} ends with: {node.last_words()}", err=True)
    for number, seconds in ((None, HEAD_SILENCE_SECONDS), (signal.SIGTERM, LEAVE_SECONDS), (signal.SIGKILL, 10.0)):
        if number:
            process.send_signal(number)
        if (code := exit_code(process, seconds)) is not None:
            return code
    return EXIT_INCOMPLETE


def join(place: Place) -> int:
    """Join the head until the command has ended.

    Raises:
        EnsembleMTLError: there was no head in time.
    """
    signals = Signals()
    head = _find_head(place, signals)
    address = host_address(place.interface)
    for attempt in range(1 + REJOINS):
        environment = head.environment(place.folder)
        node = RayNode([f"--address={head.address}", *place.resources()], address, environment, place.log)
        try:
            if _stay(place, node, head, signals):
                return EXIT_COMPLETE
        finally:
            node.stop()
        click.echo(f"{place.name}: Ray has ended here, {attempt + 1} time(s): {node.last_words()}", err=True)
    # the others go on, and their launcher might end them if this process failed
    while not _time_to_go(place, head, signals) and head.answers():
        time.sleep(2 * LOOK_SECONDS)
    return EXIT_COMPLETE


def _find_head(place: Place, signals: Signals) -> Head:
    deadline = time.monotonic() + place.seconds
    path = place.folder / "head.json"
    while True:
        try:
            head = Head(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            head = None
        if head and not head.over(place.folder) and head.answers():
            return head
        signals.raise_if_any()
        if time.monotonic() > deadline:
            reason = f"the one of {path} at {head.address} is gone" if head else f"there is no {path}"
            raise ConfigError(f"{place.name}: finds no Ray head to join within {place.seconds:.0f} s: {reason}")
        time.sleep(LOOK_SECONDS)


def _stay(place: Place, node: RayNode, head: Head, signals: Signals) -> bool:
    """Stay until it is time to leave; False if Ray has ended here before, and may be started again."""
    seen = time.monotonic()
    while not _time_to_go(place, head, signals) and time.monotonic() - seen < HEAD_SILENCE_SECONDS:
        if node.ended():
            return False
        if head.answers():
            seen = time.monotonic()
        time.sleep(2 * LOOK_SECONDS)
    return True


def _time_to_go(place: Place, head: Head, signals: Signals) -> bool:
    return head.over(place.folder) or (signals.since(signal.SIGTERM, signal.SIGINT) or 0.0) > LEAVE_SECONDS


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--nodes", type=click.IntRange(1), help="How many take part; default: what the launcher says.")
@click.option("--cpus", type=click.IntRange(1), help="CPUs per node for Ray; default: those this process may use.")
@click.option("--gpus", type=click.IntRange(0), help="GPUs per node; default: those that Ray finds.")
@click.option("--seconds", default=180.0, show_default=True, help="How long the nodes may take to join.")
@click.option("--interface", help="Network interface between the nodes, for example hsn0; default: the host name's.")
def main(
    folder: Path,
    command: tuple[str, ...],
    nodes: int | None,
    cpus: int | None,
    gpus: int | None,
    seconds: float,
    interface: str | None,
) -> None:
    """Run COMMAND with a Ray cluster of all processes that are started with the same FOLDER."""
    try:
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        size, rank = nodes or number_in(os.environ, SIZES), number_in(os.environ, ANY_RANKS)
        if size is None:
            raise ConfigError("ray_nodes: the environment does not tell how many nodes there are; give --nodes")
        if rank is None:
            raise ConfigError(
                "ray_nodes: the environment does not tell which of the nodes this is, expected one of "
                f"{', '.join(ANY_RANKS)}; start it by srun, mpiexec or jsrun"
            )
        usable = number_in(os.environ, ("SLURM_CPUS_PER_TASK",)) or len(os.sched_getaffinity(0))
        place = Place(rank, size, folder, cpus or usable, gpus, seconds, interface)
        code = join(place) if rank else lead(place, list(command))
    except (EnsembleMTLError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        code = error.exit_code if isinstance(error, EnsembleMTLError) else EXIT_BAD_INPUT
    sys.exit(code)


if __name__ == "__main__":
    main()
