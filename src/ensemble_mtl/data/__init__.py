"""From graphs to tensors: store, table, batch, split, normaliser, audit."""
