"""Small synthetic alloys for tests that need real text files or a store made from them."""

from __future__ import annotations

from pathlib import Path

from ensemble_mtl.config.sections import GraphConfig
from ensemble_mtl.data import store
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.graph import SourceData
from ensemble_mtl.data.sources import alloy


def silent(done: int, total: int) -> None:
    """Take the progress of a source without showing it."""
    assert 0 <= done <= total


def data(raw: Path, **options: object) -> SourceData:
    """Write text files of an alloy into the folder ``raw``, and read them; ``options`` are those of the source."""
    settings = {"num_configurations": 60, **options}
    return alloy.read(alloy.Options.model_validate(settings), raw=raw, progress=silent)


def graphs(raw: Path, *, periodic: bool = True, **options: object) -> GraphStore:
    """Return the alloy's graphs with a radius of 3 Å; ``options`` are those of the source."""
    return store.build(data(raw, **options), GraphConfig(radius=3.0, periodic=periodic), {})
