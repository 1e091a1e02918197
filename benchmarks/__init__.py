"""Benchmarks that compare the speed with other packages; ``python -m benchmarks``, or ``make bench``, runs all."""
