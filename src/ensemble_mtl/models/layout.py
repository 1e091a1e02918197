"""All parameters of a stack in one matrix ``[M, P]``, seen as named tensors ``[M, …]``.

One flat leaf makes an optimiser step a handful of elementwise operations, a checkpoint
one tensor, and the shared parameters the vector space on which the Hessian acts.
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
        """``[P']`` where in this vector the tensors of ``part`` stand, which have the same names."""
        starts = dict(zip(self.specs, itertools.accumulate(self.sizes, initial=0), strict=False))
        ranges = [torch.arange(starts[name], starts[name] + spec.size) for name, spec in part.specs.items()]
        return torch.cat(ranges)

    def initial(self, seeds: Sequence[int], dtype: torch.dtype) -> Tensor:
        """``[M, P]`` initial values, row m drawn from ``seeds[m]`` alone.

        Every tensor has a stream of its own, named by seed and parameter: members of one
        seed start from the same trunk whatever their subset, which is what pairs them.
        """
        none = torch.zeros(0, dtype=torch.float64)  # a trunk may have no running statistics
        rows = [torch.cat([none, *(_draw(name, spec, seed) for name, spec in self.specs.items())]) for seed in seeds]
        return torch.stack(rows).to(dtype)


def stream_seed(*parts: object) -> int:
    """A 63-bit seed from the parts' text: independent streams with no state to carry."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _draw(name: str, spec: ParameterSpec, seed: int) -> Tensor:
    if spec.kind == "constant":
        return torch.full((spec.size,), spec.value, dtype=torch.float64)
    generator = torch.Generator().manual_seed(stream_seed("init", seed, name))
    return (2 * torch.rand(spec.size, generator=generator, dtype=torch.float64) - 1) * spec.value
