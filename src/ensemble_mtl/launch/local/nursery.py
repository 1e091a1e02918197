"""Imported by the process that the local launcher's workers are forked from: loads once what all of them need.

Loading torch takes seconds of a core, and on a shared file system much longer; a worker that
is forked from here starts at once, also after another one has died.
"""

import os
import signal

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # read when the libraries below are loaded

from ensemble_mtl.launch.base import STOP_SIGNALS

for _number in STOP_SIGNALS:  # they reach every process of a job; each worker answers for itself
    signal.signal(_number, signal.SIG_IGN)

import ensemble_mtl.worker.shard  # noqa: E402, F401
from ensemble_mtl.models import kernels  # noqa: E402

kernels.load()
