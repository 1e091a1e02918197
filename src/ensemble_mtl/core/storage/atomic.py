"""Files that are written whole or not at all.

A file is written under a temporary name that nobody else uses, synced to the disk, and renamed. A rename within one
folder is atomic, so a reader never opens a file that is half written.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` under ``path`` atomically and durably.

    A reader sees the previous content or the new one, never a part of it; after a crash
    at any instant the file under ``path`` is one of the two.

    Args:
        path: file to write; missing folders above it are made.
        content: what it will hold.

    Raises:
        OSError: the disk is full or the folder cannot be written; ``path`` is unchanged.
    """
    _replace(path, lambda temporary: temporary.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 ``text`` under ``path`` atomically (see :func:`write_bytes`)."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` under ``path`` as indented JSON, atomically (see :func:`write_bytes`).

    Raises:
        ValueError: ``value`` contains NaN or infinity, which JSON does not have.
    """
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_with(path: Path, writer: Callable[[Path], object]) -> None:
    """Let ``writer(temporary)`` write a file, then sync it and rename it to ``path`` (see :func:`write_bytes`)."""
    _replace(path, writer)


def sync_directory(folder: Path) -> None:
    """Sync ``folder`` to the disk, so that renames in it survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_sibling(path: Path) -> Path:
    """Return a hidden path beside ``path`` that no other process or thread uses."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")


def _replace(path: Path, writer: Callable[[Path], object]) -> None:
    """Let ``writer`` write a temporary file, make it durable, and rename it to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_sibling(path)
    try:
        writer(temporary)
        # before the rename: after a crash the name must not lead to a file whose content is not on the disk yet
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
