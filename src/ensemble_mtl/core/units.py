"""Physical constants for the conversion of units."""

BOHR_IN_ANGSTROM = 0.529177210544
"""CODATA 2022."""
