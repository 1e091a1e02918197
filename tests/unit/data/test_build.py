import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import molecules
from helpers.alloys import data, silent

from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import DataError, StoreError
from ensemble_mtl.data import build, store
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.sources import alloy, lsms, smiles


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one whenever raw files are read."""
    calls: list[str] = []
    original = lsms.read

    def counted(options: Any, *, raw: Path, progress: Any) -> Any:
        calls.append("read")
        return original(options, raw=raw, progress=progress)

    monkeypatch.setattr(lsms, "read", counted)
    return calls


class WithOption(alloy.Options):
    vacancies: int = 0


def ensure(tmp_path: Path, source: dict[str, Any], accept: build.Accept = build.accept_all, **graph: Any) -> GraphStore:
    config = StudyConfig.model_validate(
        {"name": "s", "data": source, "graph": {"radius": 3.0, **graph}, "tasks": {"H": {"target": "mixing_enthalpy"}}}
    )
    return build.ensure(config, tmp_path / "data.bp", tmp_path / "raw", silent, accept)


def test_a_store_is_built_once(tmp_path: Path, reads: list[str]) -> None:
    source = {"name": "alloy", "num_configurations": 20}
    first = ensure(tmp_path, source)
    assert ensure(tmp_path, source).sha256 == first.sha256
    assert reads == ["read"]
    assert first.provenance["source"]["num_configurations"] == 20


def test_a_store_of_molecules_is_built_once_and_follows_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    molecules.options(tmp_path)
    source = {"name": "smiles", "path": str(tmp_path / "molecules.csv"), "targets": ["gap"], "keep": {"charge": "> 0"}}
    config = StudyConfig.model_validate({"name": "s", "data": source, "tasks": {"G": {"target": "gap"}}})
    first = build.ensure(config, tmp_path / "data.bp", tmp_path / "raw", silent)
    assert len(first) == 3
    os.utime(tmp_path / "molecules.csv", ns=(1, 1))
    assert build.ensure(config, tmp_path / "data.bp", tmp_path / "raw", silent).provenance != first.provenance
    monkeypatch.delattr(smiles, "read")
    assert build.ensure(config, tmp_path / "data.bp", tmp_path / "raw", silent).sha256 == first.sha256


def test_changed_options_rebuild(tmp_path: Path, reads: list[str]) -> None:
    source = {"name": "alloy", "num_configurations": 20}
    first = ensure(tmp_path, source)
    assert ensure(tmp_path, {**source, "seed": 1}).sha256 != first.sha256
    assert ensure(tmp_path, source, radius=4.0).sha256 != first.sha256
    # one-hot inputs are made from the same columns
    ensure(tmp_path, source, radius=4.0, node_features="one_hot", elements=["Fe", "Pt"])
    assert reads == ["read"] * 3


def test_a_new_option_with_a_default_rebuilds_nothing(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"name": "alloy", "num_configurations": 20}
    ensure(tmp_path, source)
    monkeypatch.setattr(alloy, "Options", WithOption)
    ensure(tmp_path, {**source, "vacancies": 0})
    assert reads == ["read"]
    ensure(tmp_path, {**source, "vacancies": 1})
    assert reads == ["read"] * 2


def test_changed_raw_files_rebuild_and_missing_ones_do_not(tmp_path: Path, reads: list[str]) -> None:
    data(tmp_path, num_configurations=20)
    reads.clear()
    source = {"name": "lsms", "path": str(tmp_path / "alloy")}
    first = ensure(tmp_path, source)
    ensure(tmp_path, {**source, "workers": 2})
    assert reads == ["read"]
    os.utime(tmp_path / "alloy" / "out_3", ns=(1, 2**61))
    assert ensure(tmp_path, source).sha256 == first.sha256
    assert reads == ["read"] * 2
    shutil.rmtree(tmp_path / "alloy")
    assert ensure(tmp_path, source).sha256 == first.sha256
    assert reads == ["read"] * 2
    with pytest.raises(DataError, match="no such file or folder"):
        ensure(tmp_path, {**source, "atoms_per_cell": 16})


def test_a_study_may_move_with_its_raw_files(tmp_path: Path, reads: list[str]) -> None:
    data(tmp_path / "one", num_configurations=20)
    reads.clear()
    ensure(tmp_path / "one", {"name": "lsms", "path": str(tmp_path / "one" / "alloy")})
    (tmp_path / "one").rename(tmp_path / "two")
    ensure(tmp_path / "two", {"name": "lsms", "path": str(tmp_path / "two" / "alloy")})
    assert reads == ["read"]


def test_a_new_store_that_is_not_accepted_leaves_the_former_one(tmp_path: Path) -> None:
    source = {"name": "alloy", "num_configurations": 20}
    hashes = []

    def refuse(graphs: GraphStore) -> None:
        hashes.append(graphs.sha256)
        raise DataError("no")

    existing = ensure(tmp_path, source, accept=lambda graphs: hashes.append(graphs.sha256))
    assert hashes == [existing.sha256]
    ensure(tmp_path, source, accept=refuse)  # a store that stays need not be accepted
    with pytest.raises(DataError, match="no"):
        ensure(tmp_path, {**source, "seed": 1}, accept=refuse)
    assert len(hashes) == 2
    assert hashes[1] != existing.sha256
    assert store.load(tmp_path / "data.bp").sha256 == existing.sha256


def test_what_a_killed_save_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    names = {"old": ".data.bp.0a1b.tmp", "new": ".data.bp.2c3d.tmp", "growing": ".data.bp.4e5f.tmp"}
    names |= {"file": ".data.bp.6a7b.tmp", "other": ".other.bp.0a1b.tmp"}
    remains = {name: tmp_path / place for name, place in names.items()}
    long_ago = time.time() - 2 * 3600
    for name, place in remains.items():
        if name == "file":
            place.write_bytes(b"part")
        else:
            place.mkdir()
            (place / "data.0").write_bytes(b"part")
            if name != "growing":
                os.utime(place / "data.0", (long_ago, long_ago))
        if name != "new":
            os.utime(place, (long_ago, long_ago))
    source = {"name": "alloy", "num_configurations": 20}
    ensure(tmp_path, source)
    assert {name for name, place in remains.items() if place.exists()} == {"new", "growing", "other"}


def test_a_corrupt_store_is_reported(tmp_path: Path) -> None:
    source = {"name": "alloy", "num_configurations": 20}
    ensure(tmp_path, source)
    (tmp_path / "data.bp" / "data.0").write_bytes(b"")
    with pytest.raises(StoreError, match="delete"):
        ensure(tmp_path, source)
    with pytest.raises(StoreError):
        store.load(tmp_path / "data.bp")
