"""What a machine with a GPU is asked in one go: correctness, speed, profile, probes and Table 1; see ``README.md``."""
