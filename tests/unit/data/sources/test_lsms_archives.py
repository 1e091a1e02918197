"""LSMS files in a tar archive are read like those of a folder, and a damaged archive is refused."""

from __future__ import annotations

import io
import lzma
import tarfile
from pathlib import Path

import pytest
from helpers.alloys import data
from helpers.lsms_files import equal, read

from ensemble_mtl.core.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data(tmp_path, num_configurations=15)
    return tmp_path / "alloy"


def pack(folder: Path, archive: Path, mode: str = "w:xz") -> Path:
    with tarfile.open(archive, mode) as tar:
        tar.add(folder, folder.name)
    return archive


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_reads_like_its_folder(folder: Path, tmp_path: Path, mode: str) -> None:
    (folder / ".hidden").write_text("not data")
    (folder / "link").symlink_to(folder / "out_0")
    archive = pack(folder, tmp_path / "set.tar", mode)
    (folder / "link").unlink()
    assert equal(read(archive), read(folder))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_cut_archive_is_found_wherever_it_is_cut(folder: Path, tmp_path: Path, mode: str) -> None:
    whole = pack(folder, tmp_path / "set.tar", mode).read_bytes()
    end = whole.rstrip(b"\0") if mode == "w" else whole
    for length in {0, 1, 511, 512, 1024, len(end) // 3, len(end) // 2, len(end) - 1}:
        if length < len(end):
            (tmp_path / "cut.tar").write_bytes(whole[:length])
            with pytest.raises(DataError, match=r"cut\.tar: .*copy it again"):
                read(tmp_path / "cut.tar", atoms_per_cell=16)


def test_a_tar_cut_between_members_or_with_a_damaged_header_is_found(folder: Path, tmp_path: Path) -> None:
    archive = pack(folder, tmp_path / "set.tar", "w")
    with tarfile.open(archive) as tar:
        third = tar.getmembers()[3].offset
    whole = archive.read_bytes()
    for content in (whole[:third], whole[: third + 100], whole[:third] + b"x" * 512 + whole[third + 512 :]):
        archive.write_bytes(content)
        with pytest.raises(DataError, match="stops without an end mark"):
            read(archive)


def test_flipped_bytes_of_a_compressed_archive_are_found(folder: Path, tmp_path: Path) -> None:
    whole = pack(folder, tmp_path / "set.tar.xz").read_bytes()
    for place in (len(whole) // 4, len(whole) // 2, len(whole) - 40):
        changed = bytearray(whole)
        changed[place] ^= 255
        (tmp_path / "bad.tar.xz").write_bytes(changed)
        with pytest.raises(DataError, match=r"bad\.tar\.xz"):
            read(tmp_path / "bad.tar.xz")


def test_one_name_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    content = (folder / "out_0").read_bytes()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for _ in range(2):
            entry = tarfile.TarInfo("set/out_0")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    (tmp_path / "twice.tar.xz").write_bytes(lzma.compress(stream.getvalue()))
    with pytest.raises(DataError, match="out_0 is in it twice"):
        read(tmp_path / "twice.tar.xz")


def rename(folder: Path, archive: Path, names: dict[str, str]) -> Path:
    with tarfile.open(archive, "w") as tar:
        for source, name in names.items():
            tar.add(folder / source, name)
    return archive


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("set/out_0", "set/out_1"), ["out_0", "out_1"]),
        (("./set/out_0", "./set/out_1"), ["out_0", "out_1"]),
        (("set/a/out_1", "set/b/out_1"), ["a/out_1", "b/out_1"]),
        (("a/out_1", "b/out_1"), ["a/out_1", "b/out_1"]),
        (("out_1", "a/out_1"), ["a/out_1", "out_1"]),
        (("out_1", "out_2"), ["out_1", "out_2"]),
    ],
)
def test_only_a_folder_around_all_files_of_an_archive_is_left_out(
    folder: Path, tmp_path: Path, names: tuple[str, str], expected: list[str]
) -> None:
    archive = rename(folder, tmp_path / "set.tar", dict(zip(("out_0", "out_1"), names, strict=True)))
    source_data = read(archive)
    assert [graph.name for graph in source_data.graphs] == expected
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    inner = tmp_path / "unpacked" / ("set" if "set/" in names[0] else "")
    assert equal(read(inner), source_data)


def test_a_fault_in_an_archive_is_named_as_its_graph_would_be(folder: Path, tmp_path: Path) -> None:
    (folder / "out_3").write_bytes(b"")
    with pytest.raises(DataError, match=r"^set\.tar:out_3: empty file"):
        read(pack(folder, tmp_path / "set.tar", "w"))
    archive = rename(folder, tmp_path / "two.tar", {"out_0": "a/out_0", "out_3": "b/out_3"})
    with pytest.raises(DataError, match=r"^two\.tar:b/out_3: empty file"):
        read(archive)
