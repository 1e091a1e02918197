"""Where shards run, one file per launcher."""
