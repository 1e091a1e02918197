"""What every optimiser offers.

* ``Options(registry.Options)`` with at least ``lr``;
* ``start(parameters) -> dict[str, Tensor]`` — state whose tensors lead with the member axis;
* ``step(options, parameters, gradient, state, lr) -> None`` — an update in place of
  ``parameters [M, P]`` by ``gradient [M, P]`` at the learning rates ``lr [M]``.

Members must not touch each other, or a result would depend on the stack.
"""
