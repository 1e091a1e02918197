"""Named arrays and one JSON value in an ADIOS2 BP folder: written whole, verified before use.

This is the only module that imports ``adios2``. ADIOS2 hangs or crashes on a truncated
file, stores non-contiguous arrays scrambled and has no bool, no zero-length and no 0-d
arrays. So each folder carries a ``manifest.json`` with the size and SHA-256 of every file
and the dtype and shape of every array; nothing is opened before it has been verified.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.core.errors import StoreError
from ensemble_mtl.core.storage import atomic, bp_manifest, folders
from ensemble_mtl.core.storage.bp_manifest import STORABLE, Specs, remedy, shape_of

_META = "__meta__"
_SPACE_MARGIN = 1 << 20
_OVERHEAD_BYTES = 1 << 16
_OVERHEAD_BYTES_PER_ARRAY = 1 << 10
"""Room for ADIOS2's own metadata and the manifest, in whole blocks; several times what was found."""


def save(path: Path, arrays: Mapping[str, NDArray[Any]], meta: Any) -> None:
    """Write ``arrays`` and ``meta`` as the folder ``path``, whole or not at all.

    Args:
        path: folder to make; a former one is replaced.
        arrays: name -> array of bool, integer, float32/64 or complex128 numbers; any shape,
            byte order and memory layout.
        meta: any JSON value without NaN or infinity.

    Raises:
        StoreError: an array or ``meta`` cannot be stored; the message names it.
        OSError: the disk is full or the folder cannot be written; ``path`` is untouched.
    """
    text = _meta_text(path, meta)
    specs = {name: _spec(path, name, array) for name, array in arrays.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = atomic.temporary_sibling(path)
    try:
        _write_bp(temporary, arrays, text)
        bp_manifest.seal(temporary, specs)
        folders.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def load(path: Path, wanted: Iterable[str] | None = None) -> tuple[dict[str, NDArray[Any]], Any]:
    """Arrays and meta of the verified store ``path``.

    Args:
        path: the folder.
        wanted: names of the arrays to read; all if left out.

    Raises:
        StoreError: the store is missing, incomplete or corrupt, or lacks a wanted array.
    """
    specs = verify(path)
    chosen = list(specs) if wanted is None else list(wanted)
    for name in chosen:
        if name not in specs:
            raise StoreError(f"{path}: has no array {name!r}; it holds {', '.join(specs) or 'none'}")
    FileReader = _adios2().FileReader

    try:
        with FileReader(str(path)) as reader:
            stored = {name: shape_of(entry["Shape"]) for name, entry in reader.available_variables().items()}
            meta = json.loads(reader.read(_META))
            return {name: _read(path, reader, stored, name, *specs[name]) for name in chosen}, meta
    except (RuntimeError, ValueError, KeyError) as error:
        raise StoreError(f"{path}: not a readable BP store ({error}); {remedy(path)}") from None


def names(path: Path) -> list[str]:
    """Names of the arrays in ``path``, from its manifest (files are not hashed).

    Raises:
        StoreError: the manifest is missing or damaged.
    """
    return list(bp_manifest.read(path)[1])


def digest(path: Path) -> str:
    """SHA-256 of the manifest, which pins every byte of the store.

    Raises:
        StoreError: the manifest is missing or damaged.
    """
    bp_manifest.read(path)
    return bp_manifest.sha256(path / bp_manifest.NAME)


def verify(path: Path) -> Specs:
    """Check every file of ``path`` against the manifest; returns the arrays' dtypes and shapes.

    Raises:
        StoreError: a file is missing, has another size or other content.
    """
    return bp_manifest.verify(path)


def _adios2() -> Any:
    """The library.

    It looks for its settings in the home folder, and crashes the process where none is named. It
    loads torch, for seconds, to know tensors when it is given some; here it is given arrays.
    """
    os.environ.setdefault("HOME", "/")
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        import adios2
    finally:
        if hidden:
            del sys.modules["torch"]
    return adios2


def _meta_text(path: Path, meta: Any) -> str:
    try:
        return json.dumps(meta, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{path}: meta is not JSON ({error}); put numbers that may be NaN into an array") from None


def _spec(path: Path, name: str, array: NDArray[Any]) -> list[Any]:
    if not name or name == _META:
        raise StoreError(f"{path}: got the array name {name!r}, expected a non-empty name other than {_META!r}")
    dtype = np.asarray(array).dtype
    if dtype.newbyteorder("=") not in STORABLE:
        raise StoreError(
            f"{path}: array {name!r}: dtype {dtype} cannot be stored, expected bool, integer, float32/64 or "
            "complex128; convert it first, strings as UTF-8 bytes"
        )
    return [dtype.str, list(np.shape(array))]


def _write_bp(folder: Path, arrays: Mapping[str, NDArray[Any]], text: str) -> None:
    Stream = _adios2().Stream

    prepared = {name: _plain(array) for name, array in arrays.items() if np.size(array)}
    num_bytes = len(text) + sum(array.nbytes for array in prepared.values())
    _require_space(folder, num_bytes + _OVERHEAD_BYTES + _OVERHEAD_BYTES_PER_ARRAY * len(prepared))
    try:
        with Stream(str(folder), "w") as stream:
            stream.write(_META, text)
            for name, array in prepared.items():
                stream.write(name, array, list(array.shape), [0] * array.ndim, list(array.shape))
    except RuntimeError as error:
        raise _write_error(folder, num_bytes, str(error)) from None
    # timings of the write: no part of the content, and different every time
    (folder / "profiling.json").unlink(missing_ok=True)
    written = sum(file.stat().st_size for file in folder.iterdir())
    if written < num_bytes:
        raise _write_error(folder, num_bytes, f"{written} bytes of {num_bytes} arrived")


def _require_space(folder: Path, num_bytes: int) -> None:
    """Raise OSError unless the disk, and the user's share of it, has room.

    On a full disk ADIOS2 does not fail, it aborts the process; so the room is taken for a moment.
    """
    place = folder.with_suffix(".room")
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError as error:
        raise OSError(error.errno, f"{os.strerror(error.errno or 0)} ({num_bytes} bytes needed)", str(folder)) from None
    finally:
        os.close(descriptor)
        place.unlink()


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """The same values in the only form ADIOS2 stores truly: native, aligned, C order, >= 1-d."""
    native = np.asarray(array)
    native = native.view(np.uint8) if native.dtype == np.bool_ else native.astype(native.dtype.newbyteorder("="))
    return np.require(np.atleast_1d(native), requirements=["C", "A", "W"])


def _write_error(folder: Path, num_bytes: int, reason: str) -> OSError:
    free = shutil.disk_usage(folder.parent).free
    code = errno.ENOSPC if free < num_bytes + _SPACE_MARGIN else errno.EIO
    return OSError(code, f"{os.strerror(code)} ({reason.strip().splitlines()[-1]})", str(folder.parent))


def _read(
    path: Path,
    reader: Any,
    stored: dict[str, tuple[int, ...]],
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
) -> NDArray[Any]:
    if 0 in shape:
        return np.zeros(shape, dtype)
    full = shape or (1,)
    if stored.get(name) != full:
        # ADIOS2 answers a selection beyond the end with zeros
        raise StoreError(f"{path}: array {name!r}: got shape {stored.get(name)}, expected {full}; {remedy(path)}")
    # both, always: a selection otherwise leaks into the next read of the same reader
    values: NDArray[Any] = reader.read(name, start=[0] * len(full), count=list(full))
    values = values.view(np.bool_) if dtype == np.bool_ else values.astype(dtype, copy=False)
    return values.reshape(shape)
