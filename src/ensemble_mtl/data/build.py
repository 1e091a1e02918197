"""The graph store of a study: loaded if it is still what the configuration asks for, and built otherwise."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ensemble_mtl.config import identity
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.data import store as graph_store
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.sources.base import FAMILY, Progress

Accept = Callable[[GraphStore], None]

_GRAPH_KEYS = {"radius", "radius_unit", "periodic"}
"""Options of the graph section that determine the store's content; the others belong to the model's inputs."""
_STALE_SECONDS = 3600.0
"""A temporary file or folder to which nothing was written for so long was left by a process that was killed."""


def accept_all(store: GraphStore) -> None:
    """Accept every ``store`` as a replacement of the existing one."""


def ensure(config: StudyConfig, path: Path, raw: Path, progress: Progress, accept: Accept = accept_all) -> GraphStore:
    """Return the study's graph store; build and save it first if there is none that is still current.

    A store under ``path`` is current if it was built with the same ``data`` and ``graph``
    options from raw files that have not changed since, or that are gone. Whether a new store
    may replace one to which results belong is for ``accept`` to decide.

    Args:
        config: configuration of the study.
        path: BP folder of the store.
        raw: folder where a generating source may write.
        progress: called with (done, total) while raw files are read.
        accept: called with a newly built store before it replaces the existing one; if it
            raises an error, the existing one stays as it is.

    Raises:
        DataError: the raw data cannot be read.
        StoreError: there is a store, but it is corrupt.
        OSError: the store cannot be written.
    """
    wanted, fingerprint = _wanted(config)
    current = _current(path, wanted, fingerprint)
    if current is not None:
        return current
    built = _build(config, raw, progress, wanted, fingerprint)
    accept(built)
    _remove_stale(path)
    graph_store.save(path, built)
    return built


def load_or_build(config: StudyConfig, path: Path, progress: Progress) -> GraphStore:
    """Return the graph store that :func:`ensure` would return, without changing any file of the study.

    Args:
        config: configuration of the study.
        path: BP folder of the store.
        progress: called with (done, total) while raw files are read.

    Raises:
        DataError: the raw data cannot be read.
        StoreError: there is a store, but it is corrupt.
    """
    wanted, fingerprint = _wanted(config)
    current = _current(path, wanted, fingerprint)
    if current is not None:
        return current
    with tempfile.TemporaryDirectory() as raw:
        return _build(config, Path(raw), progress, wanted, fingerprint)


def _wanted(config: StudyConfig) -> tuple[dict[str, Any], Any]:
    """What a store must have been built with: the options, and a fingerprint of the raw files.

    Options count as they do in a member's identity: a study and its raw files may move together, and a new option with
    a default builds no store anew.
    """
    graph = {key: value for key, value in identity.of(config.graph).items() if key in _GRAPH_KEYS}
    options = {"schema": identity.SCHEMA, "data": identity.of(config.data), "graph": graph}
    return options, FAMILY.of(config.data).fingerprint(config.data)


def _current(path: Path, wanted: dict[str, Any], fingerprint: Any) -> GraphStore | None:
    """Return the store ``path`` if it was built with the options ``wanted`` from unchanged raw files, else None."""
    if not path.exists():
        return None
    store = graph_store.load(path)
    # None: the raw files are gone, and cannot have changed
    is_unchanged = fingerprint in (None, store.provenance.get("fingerprint"))
    return store if is_unchanged and store.provenance.get("options") == wanted else None


def _build(config: StudyConfig, raw: Path, progress: Progress, wanted: dict[str, Any], fingerprint: Any) -> GraphStore:
    data = FAMILY.of(config.data).read(config.data, raw=raw, progress=progress)
    provenance = {
        "source": config.data.model_dump(mode="json"),
        "options": wanted,
        "fingerprint": fingerprint,
    }
    return graph_store.build(data, config.graph, provenance)


def _remove_stale(path: Path) -> None:
    """Remove temporary files and folders beside ``path`` that processes left when they were killed while saving it."""
    for temporary in path.parent.glob(f".{path.name}.*.tmp*"):
        with contextlib.suppress(OSError):  # another process may have removed it, or another user may own it
            if time.time() - _last_change(temporary) < _STALE_SECONDS:
                continue
            if temporary.is_dir() and not temporary.is_symlink():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink()


def _last_change(path: Path) -> float:
    """Return the time when ``path`` or, if it is a folder, anything in it was last written."""
    # the folder's own time does not suffice: a file that grows does not change it
    return max(found.lstat().st_mtime for found in (path, *path.rglob("*")))
