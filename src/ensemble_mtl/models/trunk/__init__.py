"""Trunks; one file each, found by its name."""

NOT_EXTENSIONS = frozenset({"torch_modules"})
