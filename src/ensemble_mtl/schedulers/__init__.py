"""Batch systems, one file each: a job script as a pure function, and four commands."""
