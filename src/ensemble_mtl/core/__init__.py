"""What everything rests on: errors, lazy imports, elements and units, storage, the running process."""
