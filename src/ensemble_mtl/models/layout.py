"""All parameters of a stack in one matrix ``[M, P]``, of which named tensors ``[M, …]`` are views.

With one flat matrix, an optimiser step is a handful of elementwise operations, a checkpoint is one tensor, and the
columns of the shared parameters are the vector space on which the Hessian acts.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from ensemble_mtl.models.spec import HEADS_PREFIX, SHARED_PREFIX, ParameterSpec, Specs

Parameters = dict[str, Tensor]


class Layout:
    """Where each named tensor stands in a flat vector.

    Args:
        specs: name -> spec; shared parameters must come first.

    Attributes:
        specs: the same.
        sizes: number of elements of each tensor.
        size: P, the number of elements of all tensors.
        num_shared: number of shared parameters, which are the first ones.
        num_tasks: number of tasks that have a head.
    """

    def __init__(self, specs: Specs) -> None:
        self.specs = specs
        self.sizes = [spec.size for spec in specs.values()]
        self.size = sum(self.sizes)
        self._first_head = sum(name.startswith(SHARED_PREFIX) for name in specs)
        self.num_shared = sum(self.sizes[: self._first_head])
        self.num_tasks = len({name.split(".")[1] for name in specs if name.startswith(HEADS_PREFIX)})

    def unflatten(self, flat: Tensor, heads: Tensor | None = None) -> Parameters:
        """Named views of ``flat [M, P]``, differentiable; shapes ``[M, *spec.shape]``.

        If ``heads`` are given, ``flat`` holds only the shared parameters.
        """
        if heads is None:
            pieces = flat.split(self.sizes, dim=1)
        else:
            pieces = (
                *flat.split(self.sizes[: self._first_head], dim=1),
                *heads.split(self.sizes[self._first_head :], dim=1),
            )
        named = zip(self.specs.items(), pieces, strict=True)
        return {name: piece.view(flat.shape[0], *spec.shape) for (name, spec), piece in named}

    def columns(self, part: Layout) -> Tensor:
        """``[P']`` the places in this vector of the P' elements of ``part``, a layout of some of the same tensors."""
        starts = dict(zip(self.specs, itertools.accumulate(self.sizes, initial=0), strict=False))
        ranges = [torch.arange(starts[name], starts[name] + spec.size) for name, spec in part.specs.items()]
        return torch.cat(ranges)

    def initial(self, seeds: Sequence[int], dtype: torch.dtype) -> Tensor:
        """``[M, P]`` initial values, row m drawn from ``seeds[m]`` alone.

        Every tensor has its own random stream, named by seed and parameter. So members of one seed start from the same
        trunk whatever their subset, and can be compared as pairs.
        """
        empty = torch.zeros(0, dtype=torch.float64)  # a trunk may have no running statistics
        rows = [torch.cat([empty, *(_draw(name, spec, seed) for name, spec in self.specs.items())]) for seed in seeds]
        return torch.stack(rows).to(dtype)


def stream_seed(*parts: object) -> int:
    """A 63-bit seed that is a hash of the text of ``parts``: different names give independent random streams."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _draw(name: str, spec: ParameterSpec, seed: int) -> Tensor:
    """``[size]`` initial values of one tensor, float64."""
    if spec.kind == "constant":
        return torch.full((spec.size,), spec.value, dtype=torch.float64)
    generator = torch.Generator().manual_seed(stream_seed("init", seed, name))
    return (2 * torch.rand(spec.size, generator=generator, dtype=torch.float64) - 1) * spec.value
