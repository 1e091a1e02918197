"""Weightings of the tasks' losses, or of their gradients, one file each."""

NOT_EXTENSIONS = frozenset({"scaling"})
