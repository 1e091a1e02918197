"""Folders that are written whole or not at all; :mod:`ensemble_mtl.core.storage.atomic` does this for files."""

from __future__ import annotations

import contextlib
import errno
import shutil
from pathlib import Path

from ensemble_mtl.core.errors import StoreError
from ensemble_mtl.core.storage import atomic

_ATTEMPTS = 20
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)
"""How the operating system says that there is a folder of the new name, and that it is not empty."""


def replace(temporary: Path, path: Path) -> None:
    """Rename the complete folder ``temporary`` to ``path``, in place of a folder that may be there.

    One folder cannot be renamed over another. So the existing one is first renamed to a hidden name; in between,
    ``path`` is missing, but it never mixes files of both. Several processes may do this at once: the last one
    determines what ``path`` holds.

    Args:
        temporary: a complete folder on the same file system.
        path: the name it shall have.

    Raises:
        StoreError: ``path`` is a file, or other processes keep replacing it.
        OSError: the file system refuses.
    """
    displaced: list[Path] = []
    for _ in range(_ATTEMPTS):
        try:
            temporary.rename(path)
            break
        except NotADirectoryError:
            raise StoreError(
                f"{path}: this is a file, expected a folder that this package wrote, or nothing; move the file away"
            ) from None
        except OSError as error:
            if error.errno not in _OCCUPIED:
                raise
            hidden = atomic.temporary_sibling(path)
            with contextlib.suppress(FileNotFoundError):  # another process has just moved it
                path.rename(hidden)
                displaced.append(hidden)
    else:
        raise StoreError(f"{path}: other processes keep replacing this folder; let only one process write it")
    atomic.sync_directory(path.parent)
    for folder in displaced:
        shutil.rmtree(folder, ignore_errors=True)
