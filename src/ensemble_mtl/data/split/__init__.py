"""How graphs are divided into training, validation and test parts, one file per way."""

NOT_EXTENSIONS = frozenset({"dealing"})
