"""Graph convolutions lifted to stacks, one file each; the file's name is the configuration's value."""

NOT_EXTENSIONS: frozenset[str] = frozenset()
