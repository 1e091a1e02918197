"""Linear operations of torch's ATen library by what they do, under the names that a tape gives them."""

REARRANGEMENTS = {
    "view.default", "_unsafe_view.default", "expand.default", "transpose.int", "permute.default", "t.default",
    "unsqueeze.default", "squeeze.dim", "select.int", "slice.Tensor", "split_with_sizes.default", "split.Tensor",
    "clone.default", "alias.default", "_to_copy.default", "cat.default", "stack.default", "gather.default",
    "index_select.default", "take.default", "repeat.default",
}  # fmt: skip
"""Operations that only move, repeat or leave out values."""

SUMS = {
    "neg.default", "mean.default", "mean.dim", "sum.default", "sum.dim_IntList", "index_add.default", "where.self",
}  # fmt: skip
"""Further operations each of whose results is a sum of values with constant coefficients."""

PAD = "constant_pad_nd.default"
"""Is linear but for a constant, the third argument, with which it pads."""

CONSTANTS = {
    "new_zeros.default", "new_ones.default", "new_full.default", "zeros_like.default",
    "ones_like.default", "full_like.default",
}  # fmt: skip
"""Operations that take only the shape of their input."""

LINEAR_ARGUMENTS = {"index_add.default": (0, 3), "where.self": (1, 2)}
"""Places of the arguments in which an operation is linear, for operations that are linear not only in the first."""
