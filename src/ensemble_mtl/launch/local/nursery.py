"""The process that the local launcher's workers are forked from: loads once what all of them need.

Loading torch takes seconds of a core, and on a shared file system much longer; a worker that
is forked from here starts at once, also after another one has died. Multiprocessing starts this
process by importing this module, so that its body is this process's main.
"""

import signal

from ensemble_mtl.core.runtime.this_process import handle_signals, prepare_process
from ensemble_mtl.launch.base import STOP_SIGNALS

prepare_process()
# they reach every process of a job; each worker answers for itself
handle_signals(STOP_SIGNALS, signal.SIG_IGN)

import ensemble_mtl.worker.shard  # noqa: E402, F401
from ensemble_mtl.models import kernels  # noqa: E402

kernels.load()
