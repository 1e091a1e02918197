"""Which parameter stands in each place of the tensors that a function makes of its parameters before it uses them.

A layer does not read the flat vector θ itself: it reads a piece of θ, which is reshaped to a matrix, transposed, padded
by zeros, or put beside another piece. Every such operation moves parameters without changing them. So the indices
0, …, P − 1 are sent through the same operations, and where index 7 arrives, parameter 7 stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ensemble_mtl.curvature.forms.operations import PAD, REARRANGEMENTS
from ensemble_mtl.curvature.forms.tape import Step, Tape

NOT_A_PARAMETER = -1
"""In place of a parameter's index, where a constant stands."""


class ParameterTensor(NamedTuple):
    """A tensor whose entries are parameters, each perhaps multiplied by a constant, or constants.

    Attributes:
        indices: int32, of the tensor's shape, the index in θ of the parameter in each place, or NOT_A_PARAMETER.
        factor: the constant by which each parameter is multiplied, of the same shape; None if all of them are 1.
    """

    indices: Tensor
    factor: Tensor | None

    @property
    def has_parameters(self) -> bool:
        """Whether any place holds a parameter."""
        return bool((self.indices != NOT_A_PARAMETER).any())


def parameter_tensors(tape: Tape) -> dict[int, ParameterTensor]:
    """All parameter tensors on the tape, by their ids; the first is θ ``[M, P]`` itself."""
    point = tape.point
    indices = torch.arange(point.shape[1], dtype=torch.int32, device=point.device).expand(point.shape)
    tensors = {id(point): ParameterTensor(indices, None)}
    dependent = {id(point)}
    for step in tape.steps:
        dependent_inputs = [id(tensor) for tensor in step.inputs if id(tensor) in dependent]
        if all(key in tensors for key in dependent_inputs):
            tensors.update(zip(map(id, step.outputs), _outputs(step, tensors), strict=False))
        dependent.update(map(id, step.outputs))
    return tensors


def _outputs(step: Step, tensors: dict[int, ParameterTensor]) -> Sequence[ParameterTensor]:
    """The parameter tensors that the step returns; none if it does more than move parameters or scale them."""
    if step.name == "mul.Tensor":
        return _scaled(step, tensors)
    if step.name not in _MOVES_PARAMETERS:
        return ()

    def moved(replacement: Callable[[Tensor], Tensor], fill: float) -> list[Tensor]:
        """Outputs of the same operation on other tensors in place of its own; ``fill`` is what it pads with."""
        args = tree_map(lambda leaf: replacement(leaf) if isinstance(leaf, Tensor) else leaf, step.args)
        outputs = step.function(*args[:2], fill) if step.name == PAD else step.function(*args, **step.kwargs)
        return [outputs] if isinstance(outputs, Tensor) else list(outputs)

    def indices(leaf: Tensor) -> Tensor:
        if id(leaf) in tensors:
            return tensors[id(leaf)].indices
        return torch.full((), NOT_A_PARAMETER, dtype=torch.int32, device=leaf.device).expand(leaf.shape)

    def factor(leaf: Tensor) -> Tensor:
        value = tensors[id(leaf)].factor if id(leaf) in tensors else None
        return leaf.new_ones(()).expand(leaf.shape) if value is None else value

    unscaled = all(tensors[id(leaf)].factor is None for leaf in step.inputs if id(leaf) in tensors)
    factors = [None] * len(step.outputs) if unscaled else moved(factor, 1.0)
    return [ParameterTensor(*pair) for pair in zip(moved(indices, NOT_A_PARAMETER), factors, strict=True)]


def _scaled(step: Step, tensors: dict[int, ParameterTensor]) -> Sequence[ParameterTensor]:
    """Parameters ``[M, P']`` times constants, one for each of them; none if the product is another one.

    With a further axis, that of a layer's rows, the factors are the layer's input and no constants of the parameters.
    """
    (out,) = step.outputs
    parameters = [arg for arg in step.args if id(arg) in tensors]
    if len(parameters) != 1 or out.dim() != 2 or parameters[0].shape != out.shape:
        return ()
    (constant,) = (arg for arg in step.args if arg is not parameters[0])
    unscaled = tensors[id(parameters[0])]
    factor = (out.new_ones(()) if unscaled.factor is None else unscaled.factor) * constant
    return [ParameterTensor(unscaled.indices, factor.expand(out.shape))]


_MOVES_PARAMETERS = REARRANGEMENTS - {"gather.default", "index_select.default", "take.default"} | {PAD}
"""Operations that move parameters to places that do not depend on another tensor."""
