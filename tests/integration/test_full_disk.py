"""A full disk is one clear error; whatever was finished stays readable, and the same command continues."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.fake_study import finish, finish_all, make_study
from helpers.studies import LONG, TINY, call, numbers, results, start, wait_until, write

from ensemble_mtl.analysis import summary_file
from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.study import results as member_results

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, left: int = 0) -> None:
    """Leave about ``left`` bytes free, though others may write meanwhile."""
    ballast = os.open(disk / "ballast", os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(ballast, b"x" * 4096)
    os.truncate(ballast, os.fstat(ballast).st_size - left)
    os.close(ballast)


def empty(disk: Path) -> None:
    (disk / "ballast").unlink()


def clear(text: str) -> None:
    """One error that says what is wrong, and no traceback."""
    assert "No space left on device" in text
    assert "Traceback" not in text


def continues(config: Path, disk: Path, intact: dict[Path, int], reference: Path) -> None:
    """With space again, the same command completes the study, and makes nothing twice."""
    again = call("run", config, "--out", disk / "study", "--no-report")
    assert again.returncode == 0, again.stderr
    assert all(path.stat().st_mtime_ns == then for path, then in intact.items())
    assert numbers(disk / "study") == numbers(reference)
    assert not list((disk / "study").rglob("*.tmp")), "an attempt left its temporary file"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = write(tmp_path_factory.mktemp("reference"), LONG)
    assert call("run", config, "--no-report").returncode == 0
    return config.parent / "studies/tiny"


@pytest.mark.parametrize("left", [0, 3 * 4096, 60_000], ids=["nothing", "some-lines", "a-checkpoint"])
def test_during_training(disk: Path, tmp_path: Path, reference: Path, left: int) -> None:
    config, root = write(tmp_path, LONG), disk / "study"
    running = start("run", config, "--out", root, "--no-report")
    wait_until(lambda: any(root.glob("members/*/*/checkpoint.pt")))
    fill(disk, left)
    output, _ = running.communicate(timeout=120)
    assert running.returncode in (1, 2), output
    clear(output)
    intact = {path: path.stat().st_mtime_ns for path in results(root).values()}
    for path in intact:
        member_results.verify(path.parent)
    empty(disk)
    continues(config, disk, intact, reference)


def test_before_training(disk: Path, tmp_path: Path, reference: Path) -> None:
    config, root = write(tmp_path, LONG), disk / "study"
    fill(disk, 20_000)
    failed = call("run", config, "--out", root, "--no-report")
    assert failed.returncode == 2, failed.stderr
    clear(failed.stderr)
    empty(disk)
    continues(config, disk, {}, reference)


@pytest.mark.parametrize("left", range(0, 40_960, 8192))
def test_a_result(disk: Path, left: int) -> None:
    study = make_study(disk / "study", seeds=2)
    first, second = study.plan()[:2]
    finish(study, first)
    fill(disk, left)
    with pytest.raises(OSError, match="No space left on device"):
        finish(study, second)
    assert not study.result(second).exists()
    member_results.read(study.folder(first))
    empty(disk)
    finish(study, second)
    member_results.read(study.folder(second))


@pytest.mark.parametrize("verb", ["gather", "report"])
def test_gather(disk: Path, tmp_path: Path, verb: str) -> None:
    config, root = write(tmp_path, TINY), disk / "study"
    assert call("run", config, "--out", root).returncode == 0
    before = {path: path.read_bytes() for path in [root / "summary.json", root / "summary.csv", root / "report.html"]}
    for path in before:
        path.write_bytes(path.read_bytes()[:-1])  # so that there is something to write
    former = {path: path.read_bytes() for path in before}
    fill(disk)
    failed = call(verb, config, "--out", root)
    assert failed.returncode == 2
    clear(failed.stderr)
    assert {path: path.read_bytes() for path in former} == former
    empty(disk)
    assert call(verb, config, "--out", root).returncode == 0
    assert (root / "summary.json").read_bytes() == before[root / "summary.json"]


def test_gather_of_a_large_study_keeps_the_former_summary(disk: Path) -> None:
    study = make_study(disk / "study", seeds=4)
    finish_all(study)
    summary_file.write_summary(study, gather(study))
    former = (study.root / "summary.json").read_bytes()
    finish(study, study.plan()[0], epochs=99)
    fill(disk, 4096)
    with pytest.raises(OSError, match="No space left on device"):
        summary_file.write_summary(study, gather(study))
    assert (study.root / "summary.json").read_bytes() == former
