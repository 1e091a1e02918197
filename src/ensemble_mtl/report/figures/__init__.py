"""Figures of the report, one file each; every file here is drawn."""
