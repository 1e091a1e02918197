"""What every learning-rate schedule offers.

* ``Options(registry.Options)``;
* ``start(options, num_members) -> dict[str, Tensor]`` — per-member state ``[M]`` that holds at
  least ``factor``, which multiplies the optimiser's learning rate;
* ``step(options, state, epoch, epochs, val_loss) -> None`` — after ``epoch`` epochs (from 1) of
  ``epochs``, set ``state`` for the next one; ``val_loss [M]``;
* ``ANNEALS = True``, if the learning rate falls to its least as the last of all epochs ends, so that members are
  expected to be best there.
"""
