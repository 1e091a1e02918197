"""Figures of the report, one file each; every file here is drawn."""

NOT_EXTENSIONS = frozenset({"look", "figure_file", "overlaid_densities", "reproduction_record", "spectral_panels"})
