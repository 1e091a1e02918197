"""The manifest of a BP folder: what must be in it, to the byte.

``manifest.json`` holds the size and SHA-256 of every file and the dtype and shape of every
array, under a hash of its own; so a changed byte anywhere in the folder is found.
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

Specs = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]
"""Array name -> dtype and shape."""
Files = dict[str, tuple[int, str]]
"""File name -> size and SHA-256."""


def seal(folder: Path, specs: dict[str, list[Any]]) -> None:
    """Write the manifest of the complete ``folder`` and make all of it durable."""
    files = sorted(file for file in folder.iterdir())
    entries = {file.name: [file.stat().st_size, sha256(file)] for file in files}
    manifest = folder / NAME
    manifest.write_text(_render({"format": FORMAT, "files": entries, "arrays": specs}))
    for file in (*files, manifest):
        atomic.sync_directory(file)  # fsync by descriptor works for files as well
    atomic.sync_directory(folder)


def verify(path: Path) -> Specs:
    """Check every file of ``path`` against the manifest; returns the arrays' dtypes and shapes.

    Raises:
        StoreError: a file is missing, has another size or other content.
    """
    files, specs = read(path)
    for name, (size, expected) in files.items():
        file = path / name
        try:
            status = file.lstat()
            if not stat.S_ISREG(status.st_mode):
                raise StoreError(f"{file}: not a regular file; {remedy(path)}")
            if status.st_size != size:
                raise StoreError(f"{file}: got {status.st_size} bytes, expected {size}; {remedy(path)}")
            found = sha256(file)
        except OSError as error:
            raise StoreError(f"{file}: cannot be read ({error.strerror}); {remedy(path)}") from None
        if found != expected:
            raise StoreError(f"{file}: corrupt (sha256 got {found[:12]}…, expected {expected[:12]}…); {remedy(path)}")
    return specs


def _render(body: dict[str, Any]) -> str:
    text = json.dumps(body, separators=(",", ":"))
    own = hashlib.sha256(text.encode()).hexdigest()
    return f'{{"sha256":"{own}","manifest":{text}}}\n'


def read(path: Path) -> tuple[Files, Specs]:
    """Files and arrays that the manifest of ``path`` lists; nothing else is opened.

    Raises:
        StoreError: the manifest is missing or damaged.
    """
    file = path / NAME
    try:
        content = file.read_bytes()
    except OSError as error:
        reason = error.strerror if path.exists() else "there is no such store"
        raise StoreError(f"{file}: cannot be read ({reason}); {remedy(path)}") from None
    try:
        body = json.loads(content)["manifest"]
        # every byte is either content under the seal or fixed punctuation
        if _render(body).encode() != content:
            raise ValueError("its seal does not fit its content")
        if body["format"] != FORMAT:
            raise ValueError(f"format {body['format']!r}, expected {FORMAT}")
        files = {_safe(name): (int(size), str(digest)) for name, (size, digest) in body["files"].items()}
        specs = {name: (_storable(code), shape_of(shape)) for name, (code, shape) in body["arrays"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{file}: not a manifest of this project ({error}); {remedy(path)}") from None
    return files, specs


def _safe(name: str) -> str:
    """A manifest may be anyone's: it must name plain files inside its own folder."""
    if name in ("", ".", "..", NAME) or "/" in name or "\\" in name or "\0" in name:
        raise ValueError(f"file name {name!r} leaves the folder")
    return name


def _storable(code: str) -> np.dtype[Any]:
    dtype = np.dtype(code)
    if dtype.newbyteorder("=") not in STORABLE:
        raise ValueError(f"dtype {code!r}")
    return dtype


def shape_of(shape: Any) -> tuple[int, ...]:
    """A shape from a list, or from ADIOS2's text ``"3, 4"``."""
    parts = [part for part in shape.split(",") if part.strip()] if isinstance(shape, str) else shape
    sizes = tuple(int(part) for part in parts)
    if any(size < 0 for size in sizes):
        raise ValueError(f"shape {shape}")
    return sizes


def sha256(file: Path) -> str:
    """Hash of a file's content."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remedy(path: Path) -> str:
    """What to try when the store ``path`` is of no use."""
    return f"delete {path} and run the command again to make it anew"
