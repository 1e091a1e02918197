"""Claims are exclusive; they are taken over from dead processes, and never from living ones."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.study import claim_record, claims

RACERS = 6
ROUNDS = 40


def silence(path: Path, seconds: float = claims.SILENCE_SECONDS + 1) -> None:
    """Make the claim look as if it had not been renewed for ``seconds``."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def claim_elsewhere(path: Path, **values: object) -> None:
    """Write a claim of a process on another machine, whose life cannot be looked up."""
    path.write_text(json.dumps({"uid": "other", "pid": 1, "started": "1", "host": "n7", "machine": "n7", **values}))


def claim_of_dead_process(path: Path) -> None:
    """Leave a claim whose process was killed."""
    code = "import sys, time; from pathlib import Path; from ensemble_mtl.study import claims\n"
    code += "claims.claim(Path(sys.argv[1])); print('claimed', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert claims.claim(path) is None  # the process lives
    process.kill()
    process.communicate()


def test_a_claim_is_exclusive_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/running.json"
    first = claims.claim(path)
    assert first is not None
    assert first.held()
    assert claims.claim(path) is None
    holder = claims.holder(path)
    assert holder is not None
    assert holder.pid == os.getpid()
    first.release()
    first.release()  # twice does no harm
    assert claims.holder(path) is None
    second = claims.claim(path)
    assert second is not None
    second.release()
    assert list(path.parent.iterdir()) == []


def test_the_dead_are_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "running.json"
    claim_of_dead_process(path)
    assert claims.holder(path) is None
    claim = claims.claim(path)
    assert claim is not None
    assert claim.held()
    claim.release()
    assert list(tmp_path.iterdir()) == []


def test_the_silent_are_replaced_after_the_silence(tmp_path: Path) -> None:
    path = tmp_path / "running.json"
    claim_elsewhere(path)
    assert claims.claim(path) is None
    silence(path, claims.SILENCE_SECONDS - 10)
    assert claims.claim(path) is None
    silence(path)
    claim = claims.claim(path)
    assert claim is not None
    claim.release()


def test_clocks_of_hosts_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "running.json"
    claim_elsewhere(path)
    monkeypatch.setattr(time, "time", lambda: 4e9)  # a host whose clock is decades ahead
    assert claims.claim(path) is None


def test_whoever_wakes_up_finds_that_it_lost(tmp_path: Path) -> None:
    path = tmp_path / "running.json"
    sleeper = claims.claim(path)
    assert sleeper is not None
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "machine": "another, so that only the silence counts"}))
    silence(path)
    successor = claims.claim(path)
    assert successor is not None
    assert not sleeper.held()
    before = path.stat().st_mtime_ns
    time.sleep(0.02)
    sleeper.renew()  # renews nothing of its successor's
    assert path.stat().st_mtime_ns == before
    sleeper.release()
    assert successor.held()
    successor.release()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[1]", "null", '{"uid": 3}', '{"uid": "a/b"}', f'{{"uid": "{"a" * 300}"}}', '{"pid": "\\u0000"}'],
)
def test_a_file_that_is_no_claim_counts_as_one_until_it_is_old(tmp_path: Path, content: str) -> None:
    path = tmp_path / "running.json"
    path.write_text(content)
    assert claims.claim(path) is None
    silence(path)
    claim = claims.claim(path)
    assert claim is not None
    claim.release()


def test_a_death_in_the_midst_of_taking_over_blocks_nobody(tmp_path: Path) -> None:
    path = tmp_path / "running.json"
    claim_of_dead_process(path)
    uid = json.loads(path.read_text())["uid"]
    claim_of_dead_process(path.with_name(f"{path.name}.{uid}"))
    claim = claims.claim(path)
    assert claim is not None
    claim.release()
    assert list(tmp_path.iterdir()) == []


def _race(path: Path, start: multiprocessing.Barrier, winners: multiprocessing.Queue) -> None:  # type: ignore[valid-type]
    for turn in range(ROUNDS):
        start.wait()
        claim = claims.claim(path.with_name(f"{turn}.json"))
        if claim:
            winners.put((turn, os.getpid()))
        start.wait()  # nobody lets go before all have tried


@pytest.mark.parametrize("state", ["free", "silent"])
def test_of_many_that_try_at_once_one_wins(tmp_path: Path, state: str) -> None:
    if state == "silent":
        for turn in range(ROUNDS):
            claim_elsewhere(tmp_path / f"{turn}.json")
            silence(tmp_path / f"{turn}.json")
    context = multiprocessing.get_context("spawn")
    start, winners = context.Barrier(RACERS), context.Queue()
    racers = [context.Process(target=_race, args=(tmp_path / "x", start, winners)) for _ in range(RACERS)]
    for racer in racers:
        racer.start()
    turns = sorted(winners.get(timeout=60)[0] for _ in range(ROUNDS))
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    assert turns == list(range(ROUNDS))
    assert winners.empty()


def test_a_signal_at_the_claim_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def interrupted(*names: Path) -> None:
        link(*names)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", interrupted)
    with pytest.raises(KeyboardInterrupt):
        claims.claim(tmp_path / "running.json")
    assert list(tmp_path.iterdir()) == []


def test_a_signal_as_the_claim_is_kept_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(keeper: claims.Keeper) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(claims.Keeper, "__enter__", interrupted)
    with pytest.raises(KeyboardInterrupt), claims.exclusive(tmp_path / "preparing.json", "preparing"):
        pytest.fail("entered")
    assert list(tmp_path.iterdir()) == []


def test_a_keeper_renews_and_releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "RENEWAL_SECONDS", 0.05)
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    held_claims = [claim for claim in map(claims.claim, paths) if claim]
    with claims.Keeper(held_claims) as keeper:
        before = [path.stat().st_mtime_ns for path in paths]
        deadline = time.monotonic() + 60
        while any(path.stat().st_mtime_ns == then for path, then in zip(paths, before, strict=True)):
            assert time.monotonic() < deadline, "not renewed"
            time.sleep(0.05)
        assert keeper.held(paths[0])
        keeper.release(paths[0])
        assert not keeper.held(paths[0])
        assert not paths[0].exists()
    assert list(tmp_path.iterdir()) == []


def test_exclusive_refuses_or_waits(tmp_path: Path) -> None:
    path = tmp_path / "preparing.json"
    claim_elsewhere(path)
    with pytest.raises(StudyError, match="process 1 on n7 is baking already"), claims.exclusive(path, "baking"):
        pass
    silence(path, claims.SILENCE_SECONDS - 0.5)
    with claims.exclusive(path, "baking", wait_seconds=30):
        assert claims.holder(path)
    assert not path.exists()


def test_a_claim_that_cannot_be_read_for_a_moment_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "running.json"
    claim = claims.claim(path)
    assert claim is not None

    def stale(path: Path) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    with claims.Keeper([claim]) as keeper:
        monkeypatch.setattr(claim_record, "read", stale)
        assert keeper.held(path)
        monkeypatch.undo()


def test_a_link_whose_answer_was_lost_is_a_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def twice(source: Path, target: Path) -> None:
        link(source, target)
        raise FileExistsError(target)  # as a network file system says when it asks again

    monkeypatch.setattr(os, "link", twice)
    claim = claims.claim(tmp_path / "running.json")
    assert claim is not None
    claim.release()


def test_decisions_follow_the_clock_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "running.json"
    claim_elsewhere(path)
    silence(path)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # a host whose clock is far behind
    assert claims.holder(path, claims.file_system_time(tmp_path)) is None
