"""Batch systems, one file each: a job script as a pure function, and four commands; sites; submissions."""

NOT_EXTENSIONS = frozenset({"jobs", "script", "site", "submissions"})
