"""What several files of tests need; its folder is put on the import path by ``tests/conftest.py``."""
