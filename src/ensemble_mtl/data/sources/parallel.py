"""Raw records to parsed numbers, in this process or in several worker processes."""

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
from ensemble_mtl.core.runtime.this_process import children_import_safely
from ensemble_mtl.data.sources.lsms_file import Malformed, Parsed, parse
from ensemble_mtl.data.sources.raw_files import RawFile

Outcome = tuple[str, Parsed | Malformed]
"""Name of a file, and its numbers or what is wrong with it."""
Item = TypeVar("Item")
Result = TypeVar("Result")

SERIAL_FILES = 2000
"""Fewer files than this are parsed faster than a worker process starts."""
_CHUNK = 500
"""Number of files that a worker process is given at a time."""
_MAX_WORKERS = 8
_CHUNKS_AHEAD = 3
"""For each worker process, so many chunks may wait for it or for their results to be taken."""


def outcomes(
    files: Iterable[RawFile], origin: str, atoms_per_cell: int | None, workers: int | None
) -> Iterator[Outcome]:
    """Parse ``files``, and yield their outcomes in the same order.

    Args:
        files: the files; taken lazily, a few chunks ahead.
        origin: name of the data set, for the error.
        atoms_per_cell: number of atoms each file must have, or None if any will do.
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
    """Do ``work`` on every item, and yield the results in the order of the items.

    Args:
        items: the items; taken lazily, a few chunks ahead.
        work: a function that can be sent to another process, as can items and results.
        origin: name of the data set, for the error.
        workers: number of processes; by default one per core, at most 8.
        sizes: two numbers of items: how many are done here faster than a worker process starts, and how many a worker
            process is given at a time.

    Raises:
        DataError: a worker process died.
    """
    remaining, (serial_size, chunk_size) = iter(items), sizes
    first = list(itertools.islice(remaining, serial_size))
    workers = workers or min(len(os.sched_getaffinity(0)), _MAX_WORKERS)
    # a daemonic process, such as a launcher's worker, may not have children
    if len(first) < serial_size or workers == 1 or multiprocessing.current_process().daemon:
        yield from map(work, itertools.chain(first, remaining))
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        pending: deque[Future[list[Result]]] = deque()
        for chunk in _chunks(itertools.chain(first, remaining), chunk_size):
            with children_import_safely():  # a process of the pool is started as work is submitted
                pending.append(pool.submit(_work_on_each, work, chunk))
            if len(pending) > workers * _CHUNKS_AHEAD:  # so that an archive is never in memory as a whole
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    except BrokenProcessPool:
        raise DataError(
            f"{origin}: a process that was reading it died, perhaps for lack of memory; set data.workers: 1"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _chunks(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while chunk := list(itertools.islice(items, size)):
        yield chunk


def _work_on_each(work: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    return [work(item) for item in items]


def _outcome(atoms_per_cell: int | None, file: RawFile) -> Outcome:
    """Read and parse one file."""
    name, content = file
    try:
        return name, parse(content.read_bytes() if isinstance(content, Path) else content, atoms_per_cell)
    except Malformed as fault:
        return name, fault
    except OSError as error:
        return name, Malformed(f"the file cannot be read ({error.strerror})")
