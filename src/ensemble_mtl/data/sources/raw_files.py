"""The files of a data set, in a folder or in an archive that is read without unpacking it."""

from __future__ import annotations

import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, cast

from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.sources.base import Progress

RawFile = tuple[str, bytes | Path]
"""Name, and the content or where to read it."""

MAX_FILE_BYTES = 1 << 28
"""No file of an archive may be larger: it would not be one of a data set, and could fill the memory."""
_BLOCK_BYTES = 512
"""A tar archive consists of blocks of this size, and blocks of zeros mark its end."""
_READ_BYTES = 1 << 20
_REMEDY = "copy it again from its source, or unpack it and give the folder"


def iterate(path: Path, progress: Progress) -> Iterator[RawFile]:
    """Yield the regular files under ``path`` that are not hidden, with their names relative to it.

    Names in an archive are complete; :func:`short_names` can shorten them when all of them have been read.

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
        reason = str(error).split("\n")[0].rstrip(":")  # in further lines, tarfile lists each compression it tried
        raise DataError(f"{path}: the file is damaged, or not a tar archive ({reason}); {_REMEDY}") from None
    except OSError as error:  # gzip and bz2 report damage in this way, too
        raise DataError(f"{path}: the data cannot be read ({error.strerror or error}); {_REMEDY}") from None


def short_names(path: Path, names: Sequence[str]) -> list[str]:
    """Return the names without the folder in which an archive wraps all of its files, if it does.

    Args:
        path: the folder or archive that was given to :func:`iterate`; names in a folder stay as they are.
        names: all names that it yielded.
    """
    parts = [PurePosixPath(name).parts for name in names]
    is_wrapped = all(len(steps) > 1 for steps in parts) and len({steps[0] for steps in parts}) == 1
    if path.is_dir() or not is_wrapped:
        return list(names)
    return [str(PurePosixPath(*steps[1:])) for steps in parts]


def natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts ``out_2`` before ``out_10``."""
    # every second part is a number; texts get -1, so that a number and a text can be compared
    parts = re.split(r"(\d+)", name, flags=re.ASCII)
    return [(int(part), "") if k % 2 else (-1, part) for k, part in enumerate(parts)]


def fingerprint(path: Path) -> dict[str, int] | None:
    """Return sizes and times that change if the files under ``path`` do, without reading them.

    None means that nothing is there.
    """
    try:
        if not path.is_dir():
            status = path.stat()
            return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        statuses = [file.stat() for file in _regular_files(path)]
    except OSError:
        return None
    return {
        "files": len(statuses),
        "bytes": sum(status.st_size for status in statuses),
        "mtime_ns": max((status.st_mtime_ns for status in statuses), default=0),
    }


def _folder(path: Path, progress: Progress) -> Iterator[RawFile]:
    """Yield the files of the folder ``path`` by their paths; whoever takes them reads them."""
    files = _regular_files(path)
    for done, file in enumerate(files, start=1):
        yield str(file.relative_to(path)), file
        progress(done, len(files))


def _regular_files(path: Path) -> list[Path]:
    """Return the files in the folder ``path`` and its subfolders, without hidden ones."""
    paths = []
    for folder, subfolders, files in os.walk(path):
        # os.walk enters the subfolders that are left in its list
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        paths += [Path(folder, name) for name in files if not name.startswith(".")]
    return [file for file in paths if file.is_file()]


def _archive(path: Path, progress: Progress) -> Iterator[RawFile]:
    """Yield the files of the archive ``path`` with their content, which is in memory for one file at a time."""
    total = path.stat().st_size
    with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:*") as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # otherwise it keeps every header in memory
            name = PurePosixPath(member.name)
            if not member.isreg() or any(part.startswith(".") for part in name.parts):
                continue
            if member.size > MAX_FILE_BYTES:
                raise tarfile.ReadError(f"{name} has {member.size} bytes, expected at most {MAX_FILE_BYTES}")
            content = archive.extractfile(member)
            if content is not None:
                yield str(name), content.read()
            progress(min(file.tell(), total), total)
        _check_end(archive)


def _check_end(archive: tarfile.TarFile) -> None:
    """Raise ReadError unless the archive ends where ``tarfile`` stopped reading.

    ``tarfile`` takes a truncated or corrupt header for the end of the archive, so the end mark is looked for here. It
    also leaves what follows unread, where the compression has its checksum; to read it makes the library check it.
    """
    stream = cast("IO[bytes]", archive.fileobj)
    stream.seek(archive.offset)
    if stream.read(_BLOCK_BYTES) != bytes(_BLOCK_BYTES):
        raise tarfile.ReadError("it stops without an end mark")
    while stream.read(_READ_BYTES):
        pass
