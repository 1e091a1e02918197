"""Files appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from ensemble_mtl.core.storage import atomic


def test_a_failing_writer_leaves_the_former_file_and_no_debris(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic.write_text(path, "former")

    def fail(temporary: Path) -> None:
        temporary.write_text("half of the ne")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        atomic.write_with(path, fail)
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_rename_leaves_no_debris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: object, target: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="Input/output"):
        atomic.write_text(tmp_path / "file", "new")
    assert list(tmp_path.iterdir()) == []


def test_json_refuses_what_json_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        atomic.write_json(tmp_path / "file.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made(tmp_path: Path) -> None:
    atomic.write_json(tmp_path / "a" / "b.json", [1])
    assert (tmp_path / "a" / "b.json").read_text() == "[\n 1\n]\n"
