"""Raw records to parsed numbers, by one process or several."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import TypeVar

from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.sources.lsms_file import Malformed, Parsed, parse
from ensemble_mtl.data.sources.raw_files import RawFile

Outcome = tuple[str, Parsed | Malformed]
"""Name, and the numbers or what is wrong."""
Item = TypeVar("Item")
Result = TypeVar("Result")

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
    return in_order(files, partial(_outcome, atoms_per_cell), origin, workers, (SERIAL_FILES, _CHUNK))


def in_order(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    origin: str,
    workers: int | None,
    sizes: tuple[int, int],
) -> Iterator[Result]:
    """``work`` on every item, in their order.

    Args:
        items: taken lazily, a few chunks ahead.
        work: can be sent to another process, as can items and results.
        origin: name of the set, for the error.
        workers: number of processes; by default one per core, at most 8.
        sizes: of what is done faster than a process starts, and of what one is given at a time.

    Raises:
        DataError: a worker process died.
    """
    remaining, (serial, chunk) = iter(items), sizes
    first = list(itertools.islice(remaining, serial))
    workers = workers or min(len(os.sched_getaffinity(0)), _MOST_WORKERS)
    # a daemonic process, such as a launcher's worker, may not have children
    if len(first) < serial or workers == 1 or multiprocessing.current_process().daemon:
        yield from map(work, itertools.chain(first, remaining))
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        pending: deque[Future[list[Result]]] = deque()
        for some in _chunks(itertools.chain(first, remaining), chunk):
            pending.append(pool.submit(_each, work, some))
            if len(pending) > workers * _CHUNKS_AHEAD:  # so that an archive is never whole in memory
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    except BrokenProcessPool:
        raise DataError(f"{origin}: a reading process died, perhaps for lack of memory; set data.workers: 1") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _chunks(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while chunk := list(itertools.islice(items, size)):
        yield chunk


def _each(work: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    return [work(item) for item in items]


def _outcome(atoms_per_cell: int | None, file: RawFile) -> Outcome:
    name, content = file
    try:
        return name, parse(content.read_bytes() if isinstance(content, Path) else content, atoms_per_cell)
    except Malformed as fault:
        return name, fault
    except OSError as error:
        return name, Malformed(f"cannot be read ({error.strerror})")
