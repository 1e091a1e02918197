"""Folders that appear whole or not at all; :mod:`ensemble_mtl.core.storage.atomic` does this for files."""

from __future__ import annotations

import contextlib
import errno
import shutil
from pathlib import Path

from ensemble_mtl.core.errors import StoreError
from ensemble_mtl.core.storage import atomic

_ATTEMPTS = 20
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)


def replace(temporary: Path, path: Path) -> None:
    """Rename the complete folder ``temporary`` to ``path``, in place of a former one.

    A folder cannot be renamed over another, so the former one first goes aside; in between,
    ``path`` is missing, never mixed. Several processes may do this at once; one is last.

    Raises:
        StoreError: ``path`` is a file.
        OSError: the file system refuses.
    """
    aside: list[Path] = []
    for _ in range(_ATTEMPTS):
        try:
            temporary.rename(path)
            break
        except NotADirectoryError:
            raise StoreError(f"{path}: is a file, expected a folder of this project or nothing; move it away") from None
        except OSError as error:
            if error.errno not in _OCCUPIED:
                raise
            former = atomic.temporary_sibling(path)
            with contextlib.suppress(FileNotFoundError):  # another process has just moved it
                path.rename(former)
                aside.append(former)
    else:
        raise StoreError(f"{path}: other processes keep replacing it; let one process write it")
    atomic.sync_directory(path.parent)
    for former in aside:
        shutil.rmtree(former, ignore_errors=True)
