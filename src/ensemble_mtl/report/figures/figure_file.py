"""Writing a figure to a file."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from ensemble_mtl.core.storage import atomic
from ensemble_mtl.report.figures import look

_DPI = 200
_METADATA: dict[str, dict[str, None]] = {".svg": {"Date": None, "Creator": None}, ".png": {"Software": None}}
"""The metadata that are left out of a file of each suffix, so that the same figure gives the same bytes."""


def write(figure: Figure, path: Path) -> None:
    """Write ``figure`` to ``path`` in the format of its suffix, ``.svg`` or ``.png``, atomically.

    Raises:
        OSError: the file cannot be written; an earlier file is left as it was.
    """
    content = io.BytesIO()
    with look.style():
        figure.savefig(content, format=path.suffix[1:], dpi=_DPI, metadata=_METADATA[path.suffix])
    atomic.write_bytes(path, content.getvalue())
