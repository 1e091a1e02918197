"""The manifest of a BP folder, which fixes every byte that the folder must hold.

``manifest.json`` lists the size and SHA-256 of every file and the dtype and shape of every array, beside the SHA-256
of that list::

    {"sha256": "…", "manifest": {"format": 1, "files": {…}, "arrays": {…}}}

So a changed byte anywhere in the folder is detected, and the SHA-256 of the manifest file itself identifies the content
of the whole folder.
"""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import numpy as np

from ensemble_mtl.core.errors import StoreError
from ensemble_mtl.core.storage import atomic

FORMAT = 1
NAME = "manifest.json"
STORABLE = frozenset(map(np.dtype, ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8", "c16", "?")))
"""Types of numbers, in native byte order, that an array may have."""

Specs = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]
"""Array name -> dtype and shape."""
Files = dict[str, tuple[int, str]]
"""File name -> size in bytes and SHA-256."""


def seal(folder: Path, specs: dict[str, list[Any]]) -> None:
    """Write the manifest of the complete ``folder``, and sync all of its files to the disk.

    Args:
        folder: a folder of files without subfolders; it must not have a manifest yet.
        specs: array name -> ``[dtype, shape]`` as JSON values.
    """
    files = sorted(file for file in folder.iterdir())
    entries = {file.name: [file.stat().st_size, sha256(file)] for file in files}
    manifest = folder / NAME
    manifest.write_text(_render({"format": FORMAT, "files": entries, "arrays": specs}))
    for file in (*files, manifest):
        atomic.sync_directory(file)  # it syncs by descriptor, which works for files as well
    atomic.sync_directory(folder)


def verify(path: Path) -> Specs:
    """Check every file of the folder ``path`` against its manifest, and return the arrays' dtypes and shapes.

    Raises:
        StoreError: a file is missing, or its size or content is not what the manifest says.
    """
    files, specs = read(path)
    for name, (size, expected) in files.items():
        file = path / name
        try:
            # lstat, since a link could lead to a file outside of the folder
            status = file.lstat()
            if not stat.S_ISREG(status.st_mode):
                raise StoreError(f"{file}: this is not a regular file; {remedy(path)}")
            if status.st_size != size:
                raise StoreError(f"{file}: got {status.st_size} bytes, expected {size}; {remedy(path)}")
            digest = sha256(file)
        except OSError as error:
            raise StoreError(f"{file}: the file cannot be read ({error.strerror}); {remedy(path)}") from None
        if digest != expected:
            raise StoreError(
                f"{file}: the file is corrupt: got SHA-256 {digest[:12]}…, expected {expected[:12]}…; {remedy(path)}"
            )
    return specs


def _render(body: dict[str, Any]) -> str:
    """Return the text of a manifest: ``body`` as compact JSON, behind the digest of that JSON."""
    text = json.dumps(body, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{{"sha256":"{digest}","manifest":{text}}}\n'


def read(path: Path) -> tuple[Files, Specs]:
    """Return the files and arrays that the manifest of the folder ``path`` lists; no other file is opened.

    Raises:
        StoreError: the manifest is missing or damaged.
    """
    file = path / NAME
    try:
        content = file.read_bytes()
    except OSError as error:
        reason = error.strerror if path.exists() else "there is no such store"
        raise StoreError(f"{file}: the manifest cannot be read ({reason}); {remedy(path)}") from None
    try:
        body = json.loads(content)["manifest"]
        # To write the body anew must give the same bytes. This covers every byte of the file: each is a part of the
        # body, of its digest, or of the punctuation around them.
        if _render(body).encode() != content:
            raise ValueError("its digest does not fit its content")
        if body["format"] != FORMAT:
            raise ValueError(f"got format {body['format']!r}, expected {FORMAT}")
        files = {_checked_name(name): (int(size), str(digest)) for name, (size, digest) in body["files"].items()}
        specs = {name: (_checked_dtype(code), shape_of(shape)) for name, (code, shape) in body["arrays"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{file}: this is not a manifest that this package wrote ({error}); {remedy(path)}") from None
    return files, specs


def _checked_name(name: str) -> str:
    """Return the file name ``name`` of a manifest, which anyone may have written, if it stays in the folder.

    Raises:
        ValueError: it could lead to a file elsewhere, or names the manifest itself.
    """
    if name in ("", ".", "..", NAME) or "/" in name or "\\" in name or "\0" in name:
        raise ValueError(f"the file name {name!r} leaves the folder")
    return name


def _checked_dtype(code: str) -> np.dtype[Any]:
    """Return the dtype with the code ``code``, in its own byte order; ValueError unless it is one of numbers."""
    dtype = np.dtype(code)
    if dtype.newbyteorder("=") not in STORABLE:
        raise ValueError(f"the dtype {code!r} is not one of numbers")
    return dtype


def shape_of(shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple, from a list or from ADIOS2's text ``"3, 4"``; ValueError if a size is negative."""
    parts = [part for part in shape.split(",") if part.strip()] if isinstance(shape, str) else shape
    sizes = tuple(int(part) for part in parts)
    if any(size < 0 for size in sizes):
        raise ValueError(f"the shape {shape} has a negative size")
    return sizes


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content as hexadecimal text."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remedy(path: Path) -> str:
    """Return the end of an error message: what to try when the store ``path`` cannot be used."""
    return f"delete {path} and run the command again, which makes it anew"
