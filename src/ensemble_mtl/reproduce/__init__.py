"""Published examples with a known answer, one file each: computed by this project's own code, and compared."""

NOT_EXTENSIONS = frozenset({"quadratic_loss"})
