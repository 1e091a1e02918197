"""Weightings of the tasks' losses, or of their gradients, one file each."""
