"""What a worker does with a shard: stacks of members, from the data to their results."""
