"""Estimators of the spectral density, one file each."""

NOT_EXTENSIONS: frozenset[str] = frozenset()
