"""Optimisation of a stack of members."""
