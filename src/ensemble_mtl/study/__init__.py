"""A study on disk: its members, where their files lie, who holds them, and their results."""
