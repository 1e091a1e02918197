"""Operations that round a member the same, bit for bit, in a stack of any size.

Most of torch's operations do so by themselves: they go over the member axis in a loop. The
exceptions are written here and held by ``tests/contracts/test_stack_invariance.py``. All of it
is true on a CPU in a process that :func:`ensemble_mtl.core.runtime.this_process.prepare_process`
has prepared: with one thread, and an MKL that rounds the same wherever in memory a matrix begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ensemble_mtl.core.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

BLOCK = 64
"""Values that vector instructions take at once, or a multiple of them."""


def product(a: Tensor, b: Tensor) -> Tensor:
    """``a_m @ b_m`` for every member m.

    Args:
        a: ``[M or 1, …, R, K]``; 1 where all members share it.
        b: ``[M, …, K, C]``.

    Returns:
        ``[M, …, R, C]``.
    """
    sizes = (a.shape[-2], a.shape[-1], b.shape[-1])
    # A product with a vector goes another way for one matrix than for a batch of them. An axis
    # of one is padded by zeros: then no derivative is a product with a vector either.
    rows, terms, columns = (int(size == 1) for size in sizes)
    if rows or terms:
        a = torch.nn.functional.pad(a, (0, terms, 0, rows))
    if terms or columns:
        b = torch.nn.functional.pad(b, (0, columns, 0, terms))
    padded = a.expand(*b.shape[:-2], -1, -1) @ b
    return padded[..., : sizes[0], : sizes[2]] if rows or columns else padded


def with_vector(a: Tensor, v: Tensor) -> Tensor:
    """``a_m v_m`` for every member m, for large matrices: one product after the other, each read from memory once.

    Args:
        a: ``[M, R, K]``.
        v: ``[M, K]``.

    Returns:
        ``[M, R]``.
    """
    return torch.stack([torch.mv(*pair) for pair in zip(a, v, strict=True)])


def elementwise(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function(x)`` for one that has other code for the last few values than for whole blocks.

    Args:
        function: elementwise; torch's sigmoid and softplus are such.
        x: ``[M, …]``.
    """
    size = x[0].numel()
    rest = -size % BLOCK
    if rest == 0:
        return function(x)
    padded = torch.nn.functional.pad(x.flatten(1), (0, rest))
    return function(padded)[:, :size].reshape(x.shape)
