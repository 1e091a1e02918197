"""Estimators of the trace, one file each."""

NOT_EXTENSIONS = frozenset({"stopping"})
