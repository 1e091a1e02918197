"""The command ``ensemble-mtl reproduce …`` in this process."""

from __future__ import annotations

import contextlib
import io
import sys

import pytest

from ensemble_mtl.cli.main import main


def call(*arguments: object) -> tuple[int, str, str]:
    """Run ``ensemble-mtl reproduce`` with these arguments; return its exit code, output and error output."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["ensemble-mtl", "reproduce", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
    return int(end.value.code or 0), out.getvalue(), err.getvalue()
