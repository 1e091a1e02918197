"""A study as its author writes it: one YAML file, checked and typed, with the line of every fault."""
