"""Data sets: raw files to graphs, graphs to a store, the store to batches of tensors; splits, scaling, audit."""
