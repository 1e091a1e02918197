"""Named arrays and one JSON value in an ADIOS2 BP folder, written whole and verified before they are read.

This is the only module that imports ``adios2``. ADIOS2 hangs or crashes on a truncated file, stores non-contiguous
arrays scrambled, and has no arrays of bool, of zero length or of zero dimensions. So each folder carries a
``manifest.json`` with the size and SHA-256 of every file and the dtype and shape of every array (see
:mod:`ensemble_mtl.core.storage.bp_manifest`), and ADIOS2 opens nothing before it has been verified.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.core.errors import StoreError, last_line
from ensemble_mtl.core.runtime.this_process import ready_to_load_adios2
from ensemble_mtl.core.storage import atomic, bp_manifest, folders
from ensemble_mtl.core.storage.bp_manifest import STORABLE, Specs, remedy, shape_of

_META = "__meta__"
"""Name of the BP variable that holds the JSON value."""
_SPACE_MARGIN = 1 << 20
"""A write that failed counts as one on a full disk if less than this many bytes would be left beside the arrays."""
_OVERHEAD_BYTES = 1 << 16
_OVERHEAD_BYTES_PER_ARRAY = 1 << 10
"""Room for ADIOS2's own metadata and the manifest, in whole blocks; several times what was measured."""


def save(path: Path, arrays: Mapping[str, NDArray[Any]], meta: Any) -> None:
    """Write ``arrays`` and ``meta`` as the folder ``path``, whole or not at all.

    Args:
        path: folder to make; a folder that is there is replaced.
        arrays: name -> array of bool, integer, float32/64 or complex128 numbers; any shape,
            byte order and memory layout.
        meta: any JSON value without NaN or infinity.

    Raises:
        StoreError: an array or ``meta`` cannot be stored; the message names it.
        OSError: the disk is full or the folder cannot be written; ``path`` is unchanged.
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
    """Verify the store ``path``, and return its arrays by name and its JSON value.

    Args:
        path: the folder.
        wanted: names of the arrays to read; all if left out.

    Raises:
        StoreError: the store is missing, incomplete or corrupt, or lacks a wanted array.
    """
    specs = verify(path)
    selection = list(specs) if wanted is None else list(wanted)
    for name in selection:
        if name not in specs:
            raise StoreError(f"{path}: the store has no array {name!r}; it holds {', '.join(specs) or 'none'}")
    FileReader = _adios2().FileReader

    try:
        with FileReader(str(path)) as reader:
            shapes = {name: shape_of(entry["Shape"]) for name, entry in reader.available_variables().items()}
            meta = json.loads(reader.read(_META))
            return {name: _read(path, reader, shapes, name, *specs[name]) for name in selection}, meta
    except (RuntimeError, ValueError, KeyError) as error:
        raise StoreError(f"{path}: ADIOS2 cannot read this BP store ({error}); {remedy(path)}") from None


def names(path: Path) -> list[str]:
    """Return the names of the arrays in the store ``path``, from its manifest (the files are not hashed).

    Raises:
        StoreError: the manifest is missing or damaged.
    """
    return list(bp_manifest.read(path)[1])


def digest(path: Path) -> str:
    """Return the SHA-256 of the manifest of the store ``path``, which fixes every byte of the store.

    Raises:
        StoreError: the manifest is missing or damaged.
    """
    bp_manifest.read(path)
    return bp_manifest.sha256(path / bp_manifest.NAME)


def verify(path: Path) -> Specs:
    """Check every file of the store ``path`` against its manifest, and return the arrays' dtypes and shapes.

    Raises:
        StoreError: a file is missing, or its size or content is not what the manifest says.
    """
    return bp_manifest.verify(path)


def _adios2() -> Any:
    """Import and return the library ``adios2``, which must not be imported without preparation."""
    with ready_to_load_adios2():
        import adios2
    return adios2


def _meta_text(path: Path, meta: Any) -> str:
    """Return ``meta`` as JSON text; StoreError if it is not a JSON value."""
    try:
        return json.dumps(meta, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"{path}: the meta value is not JSON ({error}); put numbers that may be NaN into an array"
        ) from None


def _spec(path: Path, name: str, array: NDArray[Any]) -> list[Any]:
    """Return the dtype and shape of ``array`` as JSON values; StoreError if it cannot be stored under ``name``."""
    if not name or name == _META:
        raise StoreError(f"{path}: got the array name {name!r}, expected a name that is neither empty nor {_META!r}")
    dtype = np.asarray(array).dtype
    if dtype.newbyteorder("=") not in STORABLE:
        raise StoreError(
            f"{path}: array {name!r}: dtype {dtype} cannot be stored, expected bool, integer, float32/64 or "
            "complex128; convert the array first, and strings to UTF-8 bytes"
        )
    return [dtype.str, list(np.shape(array))]


def _write_bp(folder: Path, arrays: Mapping[str, NDArray[Any]], text: str) -> None:
    """Write the arrays that are not empty, and the JSON ``text``, as the BP folder ``folder``; OSError if it fails."""
    Stream = _adios2().Stream

    # an empty array is described by the manifest alone
    prepared = {name: _storable(array) for name, array in arrays.items() if np.size(array)}
    num_bytes = len(text) + sum(array.nbytes for array in prepared.values())
    _require_space(folder, num_bytes + _OVERHEAD_BYTES + _OVERHEAD_BYTES_PER_ARRAY * len(prepared))
    try:
        with Stream(str(folder), "w") as stream:
            stream.write(_META, text)
            for name, array in prepared.items():
                stream.write(name, array, list(array.shape), [0] * array.ndim, list(array.shape))
    except RuntimeError as error:
        raise _write_error(folder, num_bytes, last_line(error)) from None
    # ADIOS2's timings of the write differ every time, and equal content must have an equal digest
    (folder / "profiling.json").unlink(missing_ok=True)
    written = sum(file.stat().st_size for file in folder.iterdir())
    if written < num_bytes:
        raise _write_error(folder, num_bytes, f"{written} bytes of {num_bytes} arrived")


def _require_space(folder: Path, num_bytes: int) -> None:
    """Raise OSError unless the disk, and the user's quota of it, has room for ``num_bytes``.

    On a full disk ADIOS2 aborts the process instead of raising an error. So a file of that size is allocated beside
    ``folder`` for a moment, which fails with an error of the operating system.
    """
    reserve = folder.with_suffix(".room")
    descriptor = os.open(reserve, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError as error:
        raise OSError(error.errno, f"{os.strerror(error.errno or 0)} ({num_bytes} bytes needed)", str(folder)) from None
    finally:
        os.close(descriptor)
        reserve.unlink()


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    """Return the same values in the only form that ADIOS2 stores faithfully.

    It has native byte order, aligned memory, C order and at least one dimension; bool becomes uint8.
    """
    native = np.asarray(array)
    native = native.view(np.uint8) if native.dtype == np.bool_ else native.astype(native.dtype.newbyteorder("="))
    return np.require(np.atleast_1d(native), requirements=["C", "A", "W"])


def _write_error(folder: Path, num_bytes: int, reason: str) -> OSError:
    """Return the error for a write that failed, since ADIOS2 does not say whether the disk is full."""
    free = shutil.disk_usage(folder.parent).free
    code = errno.ENOSPC if free < num_bytes + _SPACE_MARGIN else errno.EIO
    return OSError(code, f"{os.strerror(code)} ({reason})", str(folder.parent))


def _read(
    path: Path,
    reader: Any,
    shapes: dict[str, tuple[int, ...]],
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
) -> NDArray[Any]:
    """Return the array ``name`` with the ``dtype`` and ``shape`` of the manifest.

    Args:
        path: the store, for messages.
        reader: the opened store.
        shapes: variable of the store -> its shape there.
        name: of the array.
        dtype: of the array as it was saved.
        shape: of the array as it was saved.

    Raises:
        StoreError: the store holds it in another shape, or not at all.
    """
    if 0 in shape:
        return np.zeros(shape, dtype)
    stored_shape = shape or (1,)
    if shapes.get(name) != stored_shape:
        # must be checked here: ADIOS2 fills what a selection asks for beyond the end with zeros
        raise StoreError(
            f"{path}: array {name!r}: got shape {shapes.get(name)}, expected {stored_shape}; {remedy(path)}"
        )
    # Both start and count must always be given: otherwise the selection of one read is applied to the next one.
    values: NDArray[Any] = reader.read(name, start=[0] * len(stored_shape), count=list(stored_shape))
    values = values.view(np.bool_) if dtype == np.bool_ else values.astype(dtype, copy=False)
    return values.reshape(shape)
