"""Checkpoints come back bit by bit, or are refused."""

from __future__ import annotations

import pickle
import random

import pytest
import torch
from helpers.problems import CPU, both, make, start
from helpers.states import assert_same_state
from helpers.stores import lattice_store

from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import StoreError
from ensemble_mtl.train import checkpoint
from ensemble_mtl.train.loop import run_epoch
from ensemble_mtl.train.state import joined

STORE = lattice_store(16)
EXTRA = {"probes": [{"task": "H", "epoch": 0, "nodes": torch.arange(3.0)}], "note": "ü"}


@pytest.fixture
def trained():
    problem = make(STORE)
    state = start(problem, [0])
    run_epoch(problem, state, both(problem, 1))
    return state


def test_round_trip_is_exact(trained, tmp_path):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, "abc", trained, EXTRA)
    state, extra = checkpoint.load(path, "abc", CPU)
    assert_same_state(state, trained, but=())
    assert extra["note"] == "ü"
    assert torch.equal(extra["probes"][0]["nodes"], torch.arange(3.0))
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("schedule", registry.names("train.schedule"))
@pytest.mark.parametrize("optimizer", registry.names("train.optimizer"))
def test_resumed_equals_uninterrupted_bit_by_bit(optimizer, schedule, tmp_path):
    problem = make(STORE, optimizer=optimizer, schedule=schedule, epochs=4)
    uninterrupted, interrupted = start(problem, [0, 1]), start(problem, [0, 1])
    for _ in range(4):
        run_epoch(problem, uninterrupted, both(problem, 2))
    for _ in range(2):
        run_epoch(problem, interrupted, both(problem, 2))
    for m in range(2):
        checkpoint.save(tmp_path / str(m), f"member-{m}", interrupted.take([m]), {})
    resumed = joined([checkpoint.load(tmp_path / str(m), f"member-{m}", CPU)[0] for m in range(2)])
    for _ in range(2):
        run_epoch(problem, resumed, both(problem, 2))
    assert_same_state(resumed, uninterrupted)


def test_a_truncated_file_is_refused(trained, tmp_path):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, "abc", trained, EXTRA)
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match=r"checkpoint\.pt: not a readable checkpoint"):
            checkpoint.load(path, "abc", CPU)


def test_a_flipped_bit_is_refused_or_changes_nothing(trained, tmp_path):
    """Some bytes of the container (padding, time stamps) carry no content."""
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, "abc", trained, EXTRA)
    whole, num_refused, rng = path.read_bytes(), 0, random.Random(0)
    positions = rng.sample(range(len(whole)), 150)
    for position in positions:
        spoilt = bytearray(whole)
        spoilt[position] ^= 1 << rng.randrange(8)
        path.write_bytes(spoilt)
        try:
            state, extra = checkpoint.load(path, "abc", CPU)
        except StoreError:
            num_refused += 1
        else:
            assert_same_state(state, trained, but=())
            assert extra["note"] == "ü"
    assert num_refused > len(positions) // 4


def test_every_flipped_number_is_refused(trained, tmp_path):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, "abc", trained, EXTRA)
    whole = path.read_bytes()
    offset = whole.index(trained["best.parameters"].numpy().tobytes()) + 5
    path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
    with pytest.raises(StoreError, match=r"checkpoint\.pt"):
        checkpoint.load(path, "abc", CPU)


def test_a_foreign_member_s_file_is_refused(trained, tmp_path):
    checkpoint.save(tmp_path / "c", "abc", trained, {})
    with pytest.raises(StoreError, match="belongs to member abc, expected xyz"):
        checkpoint.load(tmp_path / "c", "xyz", CPU)


@pytest.mark.parametrize("content", [b"", b"plain text", pickle.dumps({"a": 1}), pickle.dumps(print)])
def test_a_foreign_file_is_refused(content, tmp_path):
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(StoreError, match="not a readable checkpoint"):
        checkpoint.load(tmp_path / "c", "abc", CPU)


def test_a_foreign_torch_file_is_refused(tmp_path):
    torch.save({"weights": torch.zeros(2)}, tmp_path / "c")
    with pytest.raises(StoreError, match="not a readable checkpoint"):
        checkpoint.load(tmp_path / "c", "abc", CPU)


def test_a_changed_epoch_is_refused(trained, tmp_path):
    path = tmp_path / "c"
    checkpoint.save(path, "abc", trained, {})
    content = torch.load(path, weights_only=True)
    content["epoch"] += 1
    torch.save(content, path)
    with pytest.raises(StoreError, match="do not match its digest"):
        checkpoint.load(path, "abc", CPU)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(StoreError, match="FileNotFoundError"):
        checkpoint.load(tmp_path / "none", "abc", CPU)
