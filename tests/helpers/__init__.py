"""Helpers that several files of tests need; ``tests/conftest.py`` puts their folder on the import path."""
