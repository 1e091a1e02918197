"""Symmetric matrices as linear operators: estimators take an operator, whether it is a Hessian or a given matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ensemble_mtl.core.runtime.rounding import product

LossFunction = Callable[[Tensor], Tensor]
"""A function from shared parameters ``[M, P]`` to one loss per member ``[M]``."""


class Operator(Protocol):
    """M symmetric P × P matrices, one of each member, of which only products with vectors are available."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of members M and size of the matrices P."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the products."""
        ...

    @property
    def device(self) -> torch.device:
        """Device on which the products are computed."""
        ...

    def matvec(self, v: Tensor) -> Tensor:
        """``A_m v_m`` for every m: ``[M, P]`` to ``[M, P]``."""
        ...

    def matmat(self, block: Tensor) -> Tensor:
        """``A_m v`` for each row v of each member's block: ``[M, B, P]`` to ``[M, B, P]``."""
        ...


class HessianOperator:
    """Hessian of each member's loss, by double backward: Hv = ∇(∇L·v), with v held fixed (Pearlmutter 1994).

    Members share no parameter, so the Hessian of their summed losses is block diagonal, and one backward pass gives the
    products of all members. torch's graph of the gradient ∇L is kept for all products.

    Args:
        losses: one function for each chunk of the probe set; the loss is their sum.
        parameters: ``[M, P]`` point at which the Hessian is taken.

    Raises:
        ValueError: two evaluations of the loss at the same point differ, as with dropout, so that it has no Hessian.
            Batch norm must be in evaluation mode, too; this is not checked.
    """

    def __init__(self, losses: Sequence[LossFunction], parameters: Tensor) -> None:
        self._point = parameters.detach().requires_grad_()
        with torch.no_grad():
            first, second = losses[0](self._point), losses[0](self._point)
        # Atomic additions on a GPU are rounded differently from call to call; dropout differs by far more.
        tolerance = torch.finfo(first.dtype).eps ** 0.5
        if not torch.allclose(first, second, rtol=tolerance, atol=0.0, equal_nan=True):
            raise ValueError("the loss differs from call to call at the same parameters; probe in evaluation mode")
        self._gradients: list[Tensor] = []
        total = torch.zeros_like(first)
        for loss in losses:
            value = loss(self._point)
            (gradient,) = torch.autograd.grad(value.sum(), self._point, create_graph=True)
            self._gradients.append(gradient)
            total = total + value.detach()
        self.loss = total
        """``[M]`` the loss at the point."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of members M and of parameters P."""
        return self._point.shape[0], self._point.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the products."""
        return self._point.dtype

    @property
    def device(self) -> torch.device:
        """Device on which the products are computed."""
        return self._point.device

    @property
    def gradient(self) -> Tensor:
        """``[M, P]`` gradient of the loss."""
        return torch.stack([gradient.detach() for gradient in self._gradients]).sum(0)

    def matvec(self, v: Tensor) -> Tensor:
        """``H_m v_m`` for every member m."""
        total = torch.zeros_like(self._point)
        for gradient in self._gradients:
            if gradient.requires_grad:  # otherwise the loss is linear here, without curvature
                # torch takes v as an argument beside the gradient, too; but then it loads its compiler.
                along = (gradient * v).sum()
                (product,) = torch.autograd.grad(along, self._point, retain_graph=True, materialize_grads=True)
                total += product
        return total.detach()

    def matmat(self, block: Tensor) -> Tensor:
        """``H_m v`` for each row v of the block ``[M, B, P]``, one product after the other.

        All at once would need B times the memory, and as much time.
        """
        return torch.stack([self.matvec(v) for v in block.unbind(1)], dim=1)


@dataclass(frozen=True)
class DenseOperator:
    """Matrices ``[M, P, P]`` that are held in full; for tests and for small problems."""

    matrices: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Number of matrices M and their size P."""
        return self.matrices.shape[0], self.matrices.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the matrices."""
        return self.matrices.dtype

    @property
    def device(self) -> torch.device:
        """Device of the matrices."""
        return self.matrices.device

    def matvec(self, v: Tensor) -> Tensor:
        """``A_m v_m`` for every m: ``[M, P]`` to ``[M, P]``."""
        return product(self.matrices, v[..., None])[..., 0]

    def matmat(self, block: Tensor) -> Tensor:
        """``A_m v`` for each row v of each member's block: ``[M, B, P]`` to ``[M, B, P]``."""
        return product(self.matrices, block.mT).mT
