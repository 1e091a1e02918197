"""What every weighting offers; it says what multi-task members are trained on.

* ``Options(registry.Options)``, which are ``config.weighting`` below;
* ``start(config, num_members, num_tasks) -> dict[str, Tensor]`` — state that leads with the member axis, which the
  task axis follows where there is one; it goes into checkpoints, so nothing else may be remembered;

and one of

* ``weights(config, state, given) -> [M, T]`` — weights of the next step; ``given [M, T]`` are those of the
  configuration, 0 for tasks that a member does not learn (what stands there in the result is not used);
* ``combiner(config) -> function`` of one member's gradients ``[T', P_shared]`` of the shared parameters, T' ≥ 2,
  and the seed of its random stream, to one gradient ``[P_shared]``. Each head then gets its own task's gradient.

What the weights are made of is handed over by what a file has of

* ``step(config, state, losses, labelled, lr)`` — after a step: its losses ``[M, T]``, whether its batch had any
  label of a task ``[T]``, and the learning rates ``[M]``;
* ``epoch(config, state, losses)`` — after an epoch: its mean training losses ``[M, T]``, float64;
* ``observe(config, state, curvature)`` — before the epochs at which ``due(config, epoch)`` is true, ``epoch``
  counted from 0: curvature of each task's loss ``[M, T]``, float64.

These set ``state`` in place; ``step`` changes its tensors themselves, for a recorded step knows no others. Members
must not touch each other, or a result would depend on the stack. Members of one task never come here: their weight is
the given one. The validation loss, which early stopping watches, is weighted by the given weights whatever the
weighting, so that it means the same for all of them.
"""
