"""What several files of tests need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import mini_slurm
from helpers.batch import BIN, paced, write_site
from helpers.studies import ENVIRONMENT, Numbers, call, numbers, write


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Numbers:
    """What the local launcher finds."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert call("run", write(folder), "--no-report").returncode == 0
    return numbers(folder / "studies/tiny")


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """The environment that leads to a Slurm of four nodes."""
    with mini_slurm.mini_slurm() as environment:
        yield paced({**ENVIRONMENT, **environment, "PATH": f"{BIN}:{environment['PATH']}"})


@pytest.fixture
def slurm_site(tmp_path: Path) -> Path:
    """Two of its nodes."""
    return write_site(tmp_path, scheduler="slurm", nodes=2, time="00:10:00")
