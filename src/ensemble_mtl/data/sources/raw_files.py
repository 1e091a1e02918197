"""The files of a data set, in a folder or in an archive that is read without unpacking it."""

from __future__ import annotations

import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, cast

from ensemble_mtl.core.errors import DataError

RawFile = tuple[str, bytes | Path]
"""Name, and the content or where to read it."""
Progress = Callable[[int, int], None]

MAX_FILE_BYTES = 1 << 28
"""No file of an archive may be larger: it would be something else, and fill the memory."""
_BLOCK = 512
_PIECE = 1 << 20


def iterate(path: Path, progress: Progress) -> Iterator[RawFile]:
    """The regular, not hidden files under ``path``, by their names relative to it.

    Names in an archive are whole; :func:`short_names` can shorten them once all are known.

    Args:
        path: a folder, or a tar archive, compressed or not.
        progress: called with (done, total): files of a folder, or bytes of an archive.

    Raises:
        DataError: nothing is there, it cannot be read, or the archive is damaged.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; correct data.path")
    try:
        yield from _folder(path, progress) if path.is_dir() else _archive(path, progress)
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError) as error:
        reason = str(error).split("\n")[0].rstrip(":")  # tarfile then lists every compression it tried
        raise DataError(f"{path}: damaged, or not a tar archive ({reason}); {_REMEDY}") from None
    except OSError as error:  # gzip and bz2 report damage so, too
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); {_REMEDY}") from None


def short_names(path: Path, names: Sequence[str]) -> list[str]:
    """The names without the one folder that archives wrap all their files in, if there is one.

    Args:
        path: what was given to :func:`iterate`; names in a folder stay as they are.
        names: all names that it yielded.
    """
    parts = [PurePosixPath(name).parts for name in names]
    wrapped = all(len(own) > 1 for own in parts) and len({own[0] for own in parts}) == 1
    if path.is_dir() or not wrapped:
        return list(names)
    return [str(PurePosixPath(*own[1:])) for own in parts]


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts ``out_2`` before ``out_10``."""
    parts = re.split(r"(\d+)", name, flags=re.ASCII)
    return [(int(part), "") if k % 2 else (-1, part) for k, part in enumerate(parts)]


def fingerprint(path: Path) -> dict[str, int] | None:
    """What changes if the files do, without reading them; None if nothing is there."""
    try:
        if not path.is_dir():
            status = path.stat()
            return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        found = [file.stat() for file in _regular(path)]
    except OSError:
        return None
    return {
        "files": len(found),
        "bytes": sum(status.st_size for status in found),
        "mtime_ns": max((status.st_mtime_ns for status in found), default=0),
    }


_REMEDY = "copy it again from its source, or unpack it and give the folder"


def _folder(path: Path, progress: Progress) -> Iterator[RawFile]:
    files = _regular(path)
    for done, file in enumerate(files, start=1):
        yield str(file.relative_to(path)), file
        progress(done, len(files))


def _regular(path: Path) -> list[Path]:
    found = []
    for folder, subfolders, files in os.walk(path):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))  # os.walk enters those left
        found += [Path(folder, name) for name in files if not name.startswith(".")]
    return [file for file in found if file.is_file()]


def _archive(path: Path, progress: Progress) -> Iterator[RawFile]:
    total = path.stat().st_size
    with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:*") as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # it would keep every header
            name = PurePosixPath(member.name)
            if not member.isreg() or any(part.startswith(".") for part in name.parts):
                continue
            if member.size > MAX_FILE_BYTES:
                raise tarfile.ReadError(f"{name} takes {member.size} bytes, expected at most {MAX_FILE_BYTES}")
            content = archive.extractfile(member)
            if content is not None:
                yield str(name), content.read()
            progress(min(file.tell(), total), total)
        _check_end(archive)


def _check_end(archive: tarfile.TarFile) -> None:
    """``tarfile`` takes a cut or corrupt header for the end, and checks no trailing checksum."""
    stream = cast("IO[bytes]", archive.fileobj)
    stream.seek(archive.offset)
    if stream.read(_BLOCK) != bytes(_BLOCK):
        raise tarfile.ReadError("it stops without an end mark")
    while stream.read(_PIECE):
        pass
