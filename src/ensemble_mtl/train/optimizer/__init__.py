"""Optimisers with per-member state, one file each."""

NOT_EXTENSIONS: frozenset[str] = frozenset()
