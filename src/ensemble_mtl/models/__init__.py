"""Trunk, heads and the stacks that hold many members at once."""
