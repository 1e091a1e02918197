"""Ensembles of single-task and multi-task graph networks: plan, train, probe, compare."""

__version__ = "0.1.0"
