"""Reading in several processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os
from pid import pid
from ensemble_mtl.data.sources import parallel

print("the script begins", flush=True)
processes = set(parallel.in_order(range(20), pid, "numbers", 2, (2, 4)))
print(len(processes - {os.getpid()}) > 0, os.getpid() in processes, flush=True)
"""
PID = """
import os

def pid(number):
    return os.getpid()
"""


def test_processes_that_read_do_not_run_a_script_without_a_guard(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "pid.py").write_text(PID)
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["the script begins", "True False"]
