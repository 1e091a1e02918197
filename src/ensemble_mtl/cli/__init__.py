"""The command line, one file per group of verbs; nothing heavy is imported before a verb runs."""
