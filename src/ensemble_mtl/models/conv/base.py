"""What every convolution file offers; the contract tests hold each one to it.

A convolution is a module with

* ``Options(registry.Options)`` — its own options, with ``name: Literal["<file>"]``;
* ``EDGE_FEATURES`` — whether it uses edge features;
* ``EQUAL_WIDTH`` — whether it keeps the number of features, so that inputs are lifted first;
* ``parameters(fan_in, fan_out, edge_features, options) -> Specs`` — without torch;
* ``forward(parameters, x, topology, options, degrees) -> Tensor`` — ``[M, N, B, F_in]`` to
  ``[M, N, B, F_out]``, with parameters ``[M, …]``; where ``topology.num_separate_graphs`` is not 0, every parameter is
  applied to rows as it stands, so that probes can tell the gradients of single graphs apart in one pass;
* ``reference(fan_in, fan_out, edge_features, options, degrees) -> torch.nn.Module`` — PyG's
  layer of the same function, whose ``state_dict`` names are the parameters' names.
"""
