"""What a process changes about itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ensemble_mtl.core.runtime import this_process

COMPUTED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_CBWR")
BARE = {name: value for name, value in os.environ.items() if name not in COMPUTED}
"""An environment that says nothing of how to compute."""


def run(code: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env={**BARE, **variables}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


PREPARED = """\
import threading
{first}
from ensemble_mtl.core.runtime.this_process import prepare_process
prepare_process()
import os, torch
numbers = [torch.get_num_threads()]
thread = threading.Thread(target=lambda: numbers.append(torch.get_num_threads()))
thread.start()
thread.join()
print(*numbers, os.environ["MKL_CBWR"])
"""


@pytest.mark.parametrize("first", ["", "import torch"], ids=["before torch", "after torch"])
def test_one_thread_in_every_thread(first: str) -> None:
    code = PREPARED.format(first=first)
    assert run(code) == "1 1 AUTO"
    assert run(code, OMP_NUM_THREADS="4", MKL_NUM_THREADS="3", MKL_CBWR="COMPATIBLE") == "1 1 COMPATIBLE"


def test_one_thread_for_a_while() -> None:
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with this_process.one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


FREED = """\
from pathlib import Path
import numpy as np
from ensemble_mtl.core.runtime.this_process import prepare_process
{prepare}
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
before = resident()
array = np.ones(2**25)
del array
print((resident() - before) // 2**20)
"""


def test_freed_memory_is_kept_unless_the_environment_says_otherwise() -> None:
    held, size = FREED.format(prepare="prepare_process()"), 2**25 * 8 // 2**20
    assert int(run(FREED.format(prepare=""))) < size / 10
    assert int(run(held)) > size * 0.9
    assert int(run(held, MALLOC_MMAP_THRESHOLD_="131072")) < size / 10


def test_variables_are_set_removed_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMTL_A", "old")
    monkeypatch.delenv("EMTL_B", raising=False)
    former = this_process.set_variables({"EMTL_A": None, "EMTL_B": "new"})
    assert "EMTL_A" not in os.environ
    assert os.environ["EMTL_B"] == "new"
    this_process.set_variables(former)
    assert os.environ["EMTL_A"] == "old"
    assert "EMTL_B" not in os.environ


def test_children_import_safely_and_others_are_not_concerned(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('imported from the working directory')")
    command = [sys.executable, "-c", "import random"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    assert subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True).returncode == 1
    with this_process.children_import_safely():
        assert subprocess.run(command, cwd=tmp_path).returncode == 0
    assert os.environ.get("PYTHONSAFEPATH") == environment.get("PYTHONSAFEPATH")


def test_handler_that_is_set_for_good_outlives_one_for_a_while() -> None:
    number, first = signal.SIGUSR2, signal.getsignal(signal.SIGUSR2)
    try:
        with this_process.signals_handled([number], print):
            assert signal.getsignal(number) is print
        assert signal.getsignal(number) == first
        with this_process.signals_handled([number], print), this_process.signals_handled([number], repr):
            this_process.handle_signals([number], signal.SIG_IGN)
        assert signal.getsignal(number) == signal.SIG_IGN
        with this_process.signals_restored([number]):
            signal.signal(number, print)
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, first)


def test_what_is_printed_goes_to_the_file(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path;"
        "from ensemble_mtl.core.runtime.this_process import errors_printed_to, print_to\n"
        "with errors_printed_to(Path(sys.argv[1])): os.write(2, b'an error\\n')\n"
        "os.write(2, b'shown\\n'); print_to(Path(sys.argv[2])); os.write(1, b'a line\\n'); os.write(2, b'another\\n')"
    )
    words = [sys.executable, "-c", code, tmp_path / "errors", tmp_path / "new" / "log"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "shown\n")
    assert (tmp_path / "errors").read_text() == "an error\n"
    assert (tmp_path / "new/log").read_text() == "a line\nanother\n"


ADIOS2 = """\
import os, sys
from ensemble_mtl.core.storage import bp
import numpy as np
from pathlib import Path
bp.save(Path(sys.argv[1]), {"a": np.ones(3)}, {})
print("torch" in sys.modules, os.environ["HOME"])
import torch
print(torch.ones(1).item())
"""


def test_adios2_needs_neither_a_home_nor_torch(tmp_path: Path) -> None:
    environment = {name: value for name, value in BARE.items() if name != "HOME"}
    words = [sys.executable, "-c", ADIOS2, tmp_path / "a.bp"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert re.fullmatch(r"False /\n1\.0\n", done.stdout), done.stderr
