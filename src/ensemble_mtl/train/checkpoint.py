"""A member's training state on disk: one file per member, whatever stack it trains in.

A checkpoint is written atomically, and a digest of its contents is verified when it is loaded. It is loaded with
``weights_only=True``, so that a file cannot run code. It holds no state of random generators, since the epoch names
their streams.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from ensemble_mtl.core.errors import StoreError
from ensemble_mtl.core.storage import atomic
from ensemble_mtl.train.state import StackState

FORMAT = 1
"""Number of the files' format; whoever changes what a checkpoint holds raises it."""


def save(path: Path, member_id: str, state: StackState, extra: dict[str, Any]) -> None:
    """Write the training state of one member.

    Args:
        path: the member's checkpoint.
        member_id: id of the member; :func:`load` asks for it.
        state: a stack of this member alone.
        extra: plain values and tensors to store beside the state, such as finished probes.

    Raises:
        OSError: the file could not be written whole; the former checkpoint is intact.
    """
    content = {
        "format": FORMAT,
        "member": member_id,
        "epoch": state.epoch,
        "tensors": {name: value.detach().cpu() for name, value in state.tensors.items()},
        "extra": extra,
    }
    content["sha256"] = _digest(content)
    atomic.write_with(path, lambda temporary: torch.save(content, temporary))


def load(path: Path, member_id: str, device: torch.device) -> tuple[StackState, dict[str, Any]]:
    """Read the training state of one member.

    Args:
        path: the member's checkpoint.
        member_id: id of the member that the checkpoint has to belong to.
        device: where parameters, buffers and the states of optimiser and weighting are put; all else stays on the host.

    Returns:
        a stack of this member alone, and the extra values stored beside it.

    Raises:
        StoreError: the file is missing or damaged, or belongs to another member, or has another format.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        expected = content.pop("sha256")
        intact = content["format"] == FORMAT and expected == _digest(content)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise StoreError(f"{path}: not a readable checkpoint ({type(error).__name__})") from None
    if not intact:
        raise StoreError(f"{path}: its contents do not match its digest, or have another format than {FORMAT}")
    if content["member"] != member_id:
        raise StoreError(f"{path}: belongs to member {content['member']}, expected {member_id}")
    state = StackState(content["tensors"], content["epoch"])
    for name in ("parameters", "buffers"):
        for key in (name, f"best.{name}"):
            state.tensors[key] = state[key].to(device)
    for group in ("optimizer", "weighting"):
        state.put(group, {name: value.to(device) for name, value in state.group(group).items()})
    return state, content["extra"]


def _digest(content: Any) -> str:
    """Return the SHA-256 digest of nested dicts and lists of tensors and plain values."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value):
                digest.update(f"{key!r}:".encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            digest.update(f"{len(value)}[".encode())
            for item in value:
                add(item)
        else:
            digest.update(f"{value!r};".encode())

    add(content)
    return digest.hexdigest()
