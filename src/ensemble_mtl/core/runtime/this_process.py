"""Everything that a process of this project changes about itself, each with its reason.

Such a change reaches every library in the process, so all of them stand here, and nothing
happens because a module is imported. The exceptions, which ``tests/contracts/test_process_effects.py`` lists:

* ``__main__.py`` takes the working directory from ``sys.path`` before it imports anything from there;
* ``launch/local/nursery.py`` acts when it is imported, since that is how :mod:`multiprocessing` starts it;
* ``launch/mpi/world.py`` has a rank tell the others of its end, however it ends;
* ``data/symmetry.py`` hides a library's warnings, ``models/reference.py`` sets torch's default dtype, and
  ``train/weighting/torchjd.py`` seeds torch's generator; each restores what there was when it has called its library.

The main of each kind of process calls what it needs:
:func:`prepare_process` is for those that train or measure (a local worker, an MPI rank, a Ray
worker, the verbs ``probe`` and ``plan --measure``), before they load torch.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt(3), from its malloc.h."""
_PR_SET_PDEATHSIG = 1
"""Of prctl(2)."""
LONGEST_FOLDER = 70
"""Length of a folder's path in which a socket still has a name of at most 107 characters."""

Handler = Callable[[int, Any], object] | signal.Handlers


def prepare_process() -> None:
    """Make this process compute as every other one does; to be called before torch is loaded.

    * One thread: there is a process per core, small networks gain nothing by more, and sums over
      several threads round otherwise. OpenMP and MKL read the variables when torch loads them.
    * Results of MKL that do not depend on where in memory a matrix begins, which the place of a
      member in its stack decides. MKL reads ``MKL_CBWR`` at its first product; it costs no time.
    * Freed memory is kept (:func:`_keep_freed_memory`).
    """
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    os.environ.setdefault("MKL_CBWR", "AUTO")
    if torch := sys.modules.get("torch"):  # a program that has computed before, such as a notebook
        torch.set_num_threads(1)
    _keep_freed_memory()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes with one thread meanwhile, as a worker does, since sums over several threads round otherwise."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _keep_freed_memory() -> None:
    """Let the process keep the memory that it frees, for its next allocation.

    A training step frees some megabytes of intermediate values per member, and the next one takes them again. Had they
    gone back to the system meanwhile, mapping them anew could take longer than to compute them. Nothing changes
    where the C library is not glibc, or where a ``MALLOC_`` variable of the environment says what is wanted.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_MMAP_MAX, 0)


def set_variables(changes: Mapping[str, str | None]) -> dict[str, str | None]:
    """Set environment variables, or remove those that are None.

    For libraries that can be told in no other way: CUDA and MPI read which GPU is this process's,
    and Ray how it is to run, when they are loaded.

    Returns:
        what they were; given to this function again, it restores them.
    """
    former = {name: os.environ.get(name) for name in changes}
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return former


SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Keeps Python from importing out of the working directory, where a user's ``random.py`` may lie."""


@contextlib.contextmanager
def children_import_safely() -> Iterator[None]:
    """Python processes that :mod:`multiprocessing` starts meanwhile import nothing of the user's.

    It starts them with ``python -c``, which otherwise puts the working directory before all other folders. And each
    of them otherwise begins by importing the script that started it, in order to find functions that are defined there:
    a script without ``if __name__ == "__main__"`` would start its study again in each. This package's processes need
    nothing of it, so an empty module stands in its place.
    """
    former, script = set_variables(SAFE_PATH), sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
        set_variables(former)


def handle_signals(numbers: Iterable[int], handler: Handler) -> None:
    """Let ``handler`` answer these signals for as long as the process lives."""
    for number in numbers:
        signal.signal(number, handler)


@contextlib.contextmanager
def signals_handled(numbers: Iterable[int], handler: Handler) -> Iterator[None]:
    """Let ``handler`` answer these signals for a while.

    A signal for which :func:`handle_signals` was called meanwhile keeps the handler that it got there.
    """
    former = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in former.items():
            if signal.getsignal(number) == handler:
                signal.signal(number, previous)


@contextlib.contextmanager
def signals_restored(numbers: Iterable[int]) -> Iterator[None]:
    """Afterwards these signals have the handlers that they have now, whatever a library sets meanwhile."""
    former = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, previous in former.items():
            signal.signal(number, previous)


def child_setup(at_parents_death: int, ignored: Iterable[int]) -> Callable[[], None]:
    """What a child does before it becomes another program; for ``preexec_fn``.

    Args:
        at_parents_death: signal that it gets when this process dies, so that it never outlives it.
        ignored: signals that it is deaf to unless that program handles them.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def setup() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, at_parents_death)
        if os.getppid() != parent:  # it died just before
            os._exit(1)
        handle_signals(ignored, signal.SIG_IGN)

    return setup


def print_to(path: Path) -> None:
    """Append whatever is printed from now on to a file, also by libraries in other languages."""
    path.parent.mkdir(exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())


@contextlib.contextmanager
def errors_printed_to(path: Path) -> Iterator[None]:
    """Append what is written to standard error to a file for a while, also by libraries in other languages."""
    kept = os.dup(2)
    try:
        with open(path, "a") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def short_temporary_folder() -> Iterator[None]:
    """Temporary files have short names for a while: those of sockets are limited, and a job may have a deep folder."""
    former = tempfile.tempdir
    if len(tempfile.gettempdir()) > LONGEST_FOLDER:
        tempfile.tempdir = "/tmp"  # noqa: S108 - a folder of its own is made there, for this user alone
    try:
        yield
    finally:
        tempfile.tempdir = former


@contextlib.contextmanager
def ready_to_load_adios2() -> Iterator[None]:
    """ADIOS2 can be imported meanwhile.

    It looks for its settings in the home folder, and crashes the process where none is named. And
    it loads torch, for seconds, to know tensors when it is given some; here it is given arrays.
    """
    os.environ.setdefault("HOME", "/")
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules["torch"]
