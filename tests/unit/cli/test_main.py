"""How the command line ends."""

from __future__ import annotations

import sys

import click
import pytest

from ensemble_mtl.cli import main
from ensemble_mtl.core.errors import EXIT_CHECKPOINTED


def end_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(main, "cli", command)
    monkeypatch.setattr(sys, "argv", ["ensemble-mtl"])
    main.main()


def test_a_user_stops(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        end_with(KeyboardInterrupt(), monkeypatch)
    assert end.value.code == EXIT_CHECKPOINTED
    assert "the same command continues" in capsys.readouterr().err


def test_the_end_of_a_file_is_no_users_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EOFError, match="of a pipe"):
        end_with(EOFError("of a pipe"), monkeypatch)
