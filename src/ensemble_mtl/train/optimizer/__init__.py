"""Optimisers with per-member state, one file each."""
