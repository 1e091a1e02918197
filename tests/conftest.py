"""Shared by all tests; its presence puts this folder on the import path (``fake_study``).

One thread, as every worker has: more are slower on small networks, and round otherwise.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
