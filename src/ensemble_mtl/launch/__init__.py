"""Where shards run, one package per launcher."""

NOT_EXTENSIONS = frozenset({"gpus", "rounds", "run", "started", "stopping"})
