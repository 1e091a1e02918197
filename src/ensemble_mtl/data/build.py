"""The graph store of a study: loaded if it still is what the configuration asks for, else built."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ensemble_mtl.config import registry
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.data import store as graph_store
from ensemble_mtl.data.columns import GraphStore

Progress = Callable[[int, int], None]
Accept = Callable[[GraphStore], None]

_GRAPH_KEYS = {"radius", "radius_unit", "periodic"}
"""The part of the graph section that decides the store's content."""
_STALE_SECONDS = 3600.0
"""A hidden temporary that nothing was written to for so long is what a killed process left."""


def accept_all(store: GraphStore) -> None:
    """Let every store replace the former one."""


def ensure(config: StudyConfig, path: Path, raw: Path, progress: Progress, accept: Accept = accept_all) -> GraphStore:
    """The study's graph store.

    A store under ``path`` is used if it was built with the same ``data`` and ``graph``
    options from raw files that have not changed since, or that are gone. Whether results
    belong to a new one is for ``accept`` to say.

    Args:
        config: the study.
        path: BP folder of the store.
        raw: folder where a generating source may write.
        progress: called with (done, total) while raw files are read.
        accept: called with a newly built store before it replaces the former one; what it
            raises leaves the former one as it is.

    Raises:
        DataError: the raw data cannot be read.
        StoreError: there is a store, but it is corrupt.
        OSError: the store cannot be written.
    """
    wanted, fingerprint = _wanted(config)
    found = _current(path, wanted, fingerprint)
    if found is not None:
        return found
    built = _build(config, raw, progress, wanted, fingerprint)
    accept(built)
    _remove_stale(path)
    graph_store.save(path, built)
    return built


def look(config: StudyConfig, path: Path, progress: Progress) -> GraphStore:
    """The same graphs as :func:`ensure` would give, without changing any file of the study."""
    wanted, fingerprint = _wanted(config)
    found = _current(path, wanted, fingerprint)
    if found is not None:
        return found
    with tempfile.TemporaryDirectory() as raw:
        return _build(config, Path(raw), progress, wanted, fingerprint)


def _wanted(config: StudyConfig) -> tuple[dict[str, Any], Any]:
    """What a store must have been built with: the options, and a fingerprint of the raw files."""
    source = registry.load("data.sources", config.data.name)
    # by value, not by place: a study and its raw files may move together
    options = {
        "data": _plain(config.data.model_dump(mode="python"), full_paths=False),
        "graph": config.graph.model_dump(mode="json", include=_GRAPH_KEYS),
    }
    return options, source.fingerprint(config.data) if hasattr(source, "fingerprint") else {}


def _current(path: Path, wanted: dict[str, Any], fingerprint: Any) -> GraphStore | None:
    if not path.exists():
        return None
    found = graph_store.load(path)
    unchanged = fingerprint in (None, found.provenance.get("fingerprint"))
    return found if unchanged and found.provenance.get("options") == wanted else None


def _build(config: StudyConfig, raw: Path, progress: Progress, wanted: dict[str, Any], fingerprint: Any) -> GraphStore:
    data = registry.load("data.sources", config.data.name).read(config.data, raw=raw, progress=progress)
    provenance = {
        "source": _plain(config.data.model_dump(mode="python"), full_paths=True),
        "options": wanted,
        "fingerprint": fingerprint,
    }
    return graph_store.build(data, config.graph, provenance)


def _remove_stale(path: Path) -> None:
    """Remove what processes that were killed while saving ``path`` left beside it."""
    for temporary in path.parent.glob(f".{path.name}.*.tmp*"):
        with contextlib.suppress(OSError):  # another process may remove it first, or own it
            if time.time() - _last_change(temporary) < _STALE_SECONDS:
                continue
            if temporary.is_dir() and not temporary.is_symlink():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink()


def _last_change(path: Path) -> float:
    """When ``path`` or, if it is a folder, anything in it was last written."""
    # a file that grows does not change the time of its folder
    return max(found.lstat().st_mtime for found in (path, *path.rglob("*")))


def _plain(value: Any, *, full_paths: bool) -> Any:
    """The same as JSON values, so that it compares equal to what was stored."""
    if isinstance(value, Path):
        return str(value) if full_paths else value.name
    if isinstance(value, dict):
        return {str(key): _plain(entry, full_paths=full_paths) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, full_paths=full_paths) for entry in value]
    return value
