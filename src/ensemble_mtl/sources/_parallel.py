"""Raw files to parsed numbers, by one process or several."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from ensemble_mtl.errors import DataError
from ensemble_mtl.sources._lsms_file import Malformed, Parsed, parse
from ensemble_mtl.sources._raw_files import RawFile

Outcome = tuple[str, Parsed | Malformed]
"""Name, and the numbers or what is wrong."""

SERIAL_FILES = 2000
"""Fewer files are parsed faster than a worker process starts."""
_CHUNK = 500
_MOST_WORKERS = 8
_CHUNKS_AHEAD = 3


def outcomes(
    files: Iterable[RawFile], origin: str, atoms_per_cell: int | None, workers: int | None
) -> Iterator[Outcome]:
    """Parse ``files`` in order.

    Args:
        files: what to parse; taken lazily, a few chunks ahead.
        origin: name of the set, for the error.
        atoms_per_cell: number of atoms each file has to have, or None.
        workers: number of processes; by default one per core, at most 8.

    Raises:
        DataError: a worker process died.
    """
    remaining = iter(files)
    first = list(itertools.islice(remaining, SERIAL_FILES))
    workers = workers or min(len(os.sched_getaffinity(0)), _MOST_WORKERS)
    # a daemonic process, such as a launcher's worker, may not have children
    if len(first) < SERIAL_FILES or workers == 1 or multiprocessing.current_process().daemon:
        for file in itertools.chain(first, remaining):
            yield _outcome(file, atoms_per_cell)
        return
    chunks = _chunks(itertools.chain(first, remaining))
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        pending: deque[Future[list[Outcome]]] = deque()
        for chunk in chunks:
            pending.append(pool.submit(_chunk, chunk, atoms_per_cell))
            if len(pending) > workers * _CHUNKS_AHEAD:  # so that an archive is never whole in memory
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    except BrokenProcessPool:
        raise DataError(f"{origin}: a reading process died, perhaps for lack of memory; set data.workers: 1") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _chunks(files: Iterator[RawFile]) -> Iterator[list[RawFile]]:
    while chunk := list(itertools.islice(files, _CHUNK)):
        yield chunk


def _chunk(files: list[RawFile], atoms_per_cell: int | None) -> list[Outcome]:
    return [_outcome(file, atoms_per_cell) for file in files]


def _outcome(file: RawFile, atoms_per_cell: int | None) -> Outcome:
    name, content = file
    try:
        return name, parse(content.read_bytes() if isinstance(content, Path) else content, atoms_per_cell)
    except Malformed as fault:
        return name, fault
    except OSError as error:
        return name, Malformed(f"cannot be read ({error.strerror})")
