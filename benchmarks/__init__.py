"""Side-by-side speed against peers; ``python -m benchmarks`` (or ``make bench``) runs all."""
