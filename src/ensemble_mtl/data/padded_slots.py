"""Lists of unequal length, one per node, as a padded integer matrix of slots, and extrema over them.

Nodes have different numbers of incoming edges. Slot k of a node holds its k-th edge, and a node with fewer edges than
slots repeats its last one, which changes no minimum or maximum. Three nodes with the edges {0, 1}, {2} and {3, 4, 5}::

    slots = [[0, 2, 3],
             [1, 2, 4],
             [1, 2, 5]]
"""

from __future__ import annotations

import torch
from torch import Tensor


def padded_slots(counts: Tensor, items: Tensor) -> Tensor:
    """Return the slots ``[K, N]`` of N nodes, where K is the largest of ``counts``.

    Args:
        counts: ``[N]`` number of items of each node.
        items: items of the first node, then of the second one, and so on.

    Returns:
        Entry (k, i) is the k-th item of node i, or its last one if it has fewer. A node without items gets an
        arbitrary one, so its results must be masked.
    """
    width = int(counts.max()) if len(counts) else 0
    if width == 0:
        return items.new_zeros(0, len(counts))
    start = counts.cumsum(0) - counts
    steps = torch.arange(width, device=items.device)[:, None]
    position = start + torch.minimum(steps, (counts - 1).clamp(min=0))
    return items[position.clamp(max=len(items) - 1)]


def arg_extrema(values: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    """Return the items of the smallest and of the largest value among each node's slots.

    Args:
        values: ``[M, I, B, F]`` value of each item.
        slots: ``[K, N]`` items of each node, with K > 0.

    Returns:
        Two integer tensors ``[M, N, B, F]``, indices along the axis I of ``values``.
    """
    low = high = values.index_select(1, slots[0])
    # The slot's number k is tracked instead of the item's index, since it fits into the narrowest integers. The wanted
    # slot is the last one that improved on all slots before it. Slots come in ascending order, so its number is the
    # largest among those that improved, and a maximum of integers keeps it.
    dtype = torch.uint8 if len(slots) <= 256 else torch.int32
    low_slot = high_slot = torch.zeros_like(low, dtype=dtype)
    for k, slot in enumerate(slots[1:], start=1):
        candidate = values.index_select(1, slot)
        low_slot = torch.maximum(low_slot, (candidate < low).to(dtype) * k)
        high_slot = torch.maximum(high_slot, (candidate > high).to(dtype) * k)
        low, high = torch.minimum(low, candidate), torch.maximum(high, candidate)
    num_nodes = slots.shape[1]
    node = torch.arange(num_nodes, device=slots.device)[:, None, None]
    return slots.take(low_slot.long() * num_nodes + node), slots.take(high_slot.long() * num_nodes + node)
