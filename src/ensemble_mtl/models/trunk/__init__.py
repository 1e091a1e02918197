"""Trunks, one file each; the file's name is the configuration's value."""

NOT_EXTENSIONS = frozenset({"torch_modules"})
