"""Where a function's parameters meet its intermediate values: one :class:`Use` for each weight in each operation.

The layer z = x Wᵀ + b, as torch computes it, is one operation with two uses: the weight W ``[out, in]`` meets the rows
of x, and the bias b ``[out]`` is added to every row. If δ is the derivative of a number with respect to z, then the
derivative of that number with respect to W is Σ δ_i ⊗ x_i over the rows i, and with respect to b it is Σ δ_i. A use
says which columns of z and of x belong to which row and column of W, so that these sums can be formed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ensemble_mtl.curvature.forms.parameter_tensors import NOT_A_PARAMETER, ParameterTensor, parameter_tensors
from ensemble_mtl.curvature.forms.tape import Step, Tape


class NotSeparableError(Exception):
    """One pass through all graphs does not give the gradients of single graphs, for the reason that is stated."""


@dataclass
class Use:
    """One weight in one operation z = x Wᵀ, z = x ⊙ w or z = w. A vector of parameters w is a weight, too.

    Attributes:
        step: the operation.
        weight: number of the weight among the tensors of which θ consists.
        output_columns: ``[C]`` the columns of z that this weight makes.
        weight_rows: ``[C]`` which row of the weight makes each of them; where ``weight_columns`` is None, which entry
            of the flattened weight.
        weight_columns: ``[K]`` which column of the weight meets each column of x. None for z = x ⊙ w and z = w, where
            each parameter makes a column by itself.
        inputs: x, with its columns along the last axis, or a number; None for z = w.
        input_columns: ``[K]`` the columns of x that meet parameters and not constants; None for all.
        factor: constants by which w is multiplied beforehand, of the shape of w; None for 1.
        sign: −1 where the weight is subtracted, else 1.
    """

    step: Step
    weight: int
    output_columns: Tensor
    weight_rows: Tensor
    weight_columns: Tensor | None
    inputs: Any
    input_columns: Tensor | None = None
    factor: Tensor | None = None
    sign: int = 1


class ParameterUses:
    """All uses of parameters on a tape.

    Args:
        tape: the tape of a function from θ ``[M, P]`` to anything.
        sizes: numbers of rows and of columns, fan-out and fan-in, of each weight of which θ consists, in their order; a
            tensor that is no matrix is one column.

    Attributes:
        tensors: the parameter tensors on the tape, by their ids.
        uses: the uses, in the order of the tape.

    Raises:
        NotSeparableError: an operation on parameters is not known here.
    """

    def __init__(self, tape: Tape, sizes: Sequence[tuple[int, int]]) -> None:
        self._sizes = sizes
        starts = [0] + [fan_out * fan_in for fan_out, fan_in in sizes]
        self._offsets = torch.tensor(starts, device=tape.point.device).cumsum(0)  # where in θ each weight begins
        self.tensors = parameter_tensors(tape)
        self.uses = [use for step in tape.steps for use in self._uses_in(step)]

    def _uses_in(self, step: Step) -> Iterator[Use]:
        """The uses in one step: of a weight as the right factor of a matrix product, or elementwise."""
        parameter_ids = {id(tensor) for tensor in step.inputs if self._has_parameters(tensor)}
        if not parameter_ids or id(step.outputs[0]) in self.tensors:  # no parameters, or they are moved and not used
            return
        by_place = [self.tensors[id(arg)] if id(arg) in parameter_ids else None for arg in step.args]
        name, count = step.name.partition(".")[0], sum(tensor is not None for tensor in by_place)
        if step.kwargs or len(by_place) != _NUM_ARGUMENTS.get(name) or len(parameter_ids) != count:
            raise NotSeparableError(f"parameters in {step.name}")
        for place, tensor in enumerate(by_place):
            if tensor is None:
                continue
            if name in ("bmm", "baddbmm") and place == len(by_place) - 1:
                yield from self._in_matrix_product(step, tensor, step.args[place - 1])
            elif name == "bmm" or (name == "baddbmm" and place == 1):
                raise NotSeparableError("a parameter as the rows of a product")
            else:
                inputs = _other_factor(name, place, step.args)
                if id(inputs) in self.tensors:
                    raise NotSeparableError("a product of parameters")
                yield from self._elementwise(step, tensor, inputs, -1 if name == "sub" and place == 1 else 1)

    def _has_parameters(self, tensor: Tensor) -> bool:
        return id(tensor) in self.tensors and self.tensors[id(tensor)].has_parameters

    def _in_matrix_product(self, step: Step, tensor: ParameterTensor, inputs: Tensor) -> Iterator[Use]:
        """Uses in z = x A of the parameter tensor A ``[M, K, C]``, in which several weights may stand side by side.

        Each column of A must consist of parameters of one row of one weight W, so that it is a row of W, or of
        constants alone, like each row of A. A weight that stands beside another and is padded to its size is none.
        """
        if id(inputs) in self.tensors:
            raise NotSeparableError("a product of parameters")
        if tensor.factor is not None:
            raise NotSeparableError("a weight that is multiplied by constants")
        indices = tensor.indices[0]  # the same for every member
        input_columns = (indices.amax(1) != NOT_A_PARAMETER).nonzero().flatten()
        indices = indices[input_columns]
        constant = indices == NOT_A_PARAMETER
        if not torch.equal(constant.any(0), constant.all(0)):
            raise NotSeparableError("a weight that is padded in some of its columns")
        numbers = self._weight_numbers(indices[0])
        for weight in numbers.unique().tolist():
            if weight == NOT_A_PARAMETER:
                continue
            output_columns = (numbers == weight).nonzero().flatten()
            fan_in = self._sizes[weight][1]
            # W[r, c] has the index offset + r · fan_in + c. The first row and column of A give all r and c,
            # and the other places must agree with them.
            in_weight = indices[:, output_columns] - self._offsets[weight]
            weight_rows, weight_columns = in_weight[0] // fan_in, in_weight[:, 0] % fan_in
            if not torch.equal(in_weight, weight_rows * fan_in + weight_columns[:, None]):
                raise NotSeparableError("a weight whose rows and columns are mixed")
            needed_columns = None if len(input_columns) == inputs.shape[-1] else input_columns
            yield Use(step, weight, output_columns, weight_rows, weight_columns, inputs, needed_columns)

    def _elementwise(self, step: Step, tensor: ParameterTensor, inputs: Any, sign: int) -> Iterator[Use]:
        """Uses in z = x ⊙ w or z = w of a parameter tensor w ``[M, 1, …, 1, C or 1]``, the same for every row.

        Where x has a single column, z = x ⊙ w is the matrix product of x with a weight of one column.
        """
        out, indices = step.outputs[0], tensor.indices
        if (
            out.dim() < 3
            or indices.dim() != out.dim()
            or any(size != 1 for size in indices.shape[1:-1])
            or indices.shape[-1] not in (1, out.shape[-1])
        ):
            raise NotSeparableError("parameters that differ by row")
        index_of_column = indices[0].flatten().expand(out.shape[-1])
        numbers = self._weight_numbers(index_of_column)
        for weight in numbers.unique().tolist():
            if weight == NOT_A_PARAMETER:
                continue
            output_columns = (numbers == weight).nonzero().flatten()
            in_weight = index_of_column[output_columns] - self._offsets[weight]
            fan_out, fan_in = self._sizes[weight]
            weight_columns = in_weight % fan_in
            if min(fan_out, fan_in) > 1 and isinstance(inputs, Tensor) and inputs.shape[-1] == 1:
                if tensor.factor is not None or not bool((weight_columns == weight_columns[0]).all()):
                    raise NotSeparableError("a weight whose rows and columns are mixed")
                weight_rows = in_weight // fan_in
                yield Use(step, weight, output_columns, weight_rows, weight_columns[:1], inputs, sign=sign)
            else:
                yield Use(step, weight, output_columns, in_weight, None, inputs, None, tensor.factor, sign)

    def _weight_numbers(self, indices: Tensor) -> Tensor:
        """Number of the weight to which each parameter belongs, by its index; NOT_A_PARAMETER stays what it is."""
        numbers = torch.bucketize(indices.long(), self._offsets, right=True) - 1
        return torch.where(indices == NOT_A_PARAMETER, NOT_A_PARAMETER, numbers)


_NUM_ARGUMENTS = {"bmm": 2, "baddbmm": 3, "mul": 2, "add": 2, "sub": 2, "addcmul": 3}
"""The operations in which parameters may be used, with their numbers of arguments."""


def _other_factor(name: str, place: int, args: Sequence[Any]) -> Any:
    """The argument by which the argument at this place is multiplied elementwise; None if it is only added."""
    if name == "mul":
        return args[1 - place]
    return args[3 - place] if name == "addcmul" and place else None
