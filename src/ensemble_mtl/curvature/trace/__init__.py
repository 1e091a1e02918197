"""Estimators of the trace, one file each."""
