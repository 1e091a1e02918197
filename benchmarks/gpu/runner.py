"""The parts one after the other, each a process of its own with its own time limit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PARTS = {
    "versions": 35.0,
    "correctness": 110.0,
    "speed": 90.0,
    "step_profile": 45.0,
    "probes": 60.0,
    "table_1": 85.0,
    "sharing": 45.0,
}
"""Name -> seconds that it may take of :data:`WHOLE`; what others leave goes to :data:`PATIENT`."""
WHOLE = 480.0
PATIENT = "table_1"
RESERVE = 5.0
"""Seconds for the page and the removal of files."""
GRACE = 1.0
"""Seconds between asking a part to end and killing it."""


@dataclass(frozen=True)
class Run:
    """One run of the check.

    Attributes:
        device: ``cuda``, ``cpu`` or ``emulated``.
        size: ``full`` or ``small``.
        data: folder of prepared data; None to make stand-ins.
        out: folder of the results.
        work: folder that is removed afterwards.
        begun: Unix time.
        seconds: for all parts together.
    """

    device: str
    size: str
    data: Path | None
    out: Path
    work: Path
    begun: float
    seconds: float

    @property
    def until(self) -> float:
        """Unix time at which the last part is to be over."""
        return self.begun + self.seconds - RESERVE


def run(plan: Run, names: list[str]) -> dict[str, dict[str, Any]]:
    """Run the parts and keep what they measured in ``gpu.json``, after each of them.

    Args:
        plan: how.
        names: which parts, in order.

    Returns:
        part -> ``status``, ``reason``, ``seconds`` and ``measured``.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    (plan.out / "gpu.log").unlink(missing_ok=True)
    data, results = plan.data or plan.work / "data", dict[str, dict[str, Any]]()
    if plan.data is None and names != ["versions"]:
        made = _stand_ins(plan, data)
        if made["status"] != "done":
            results["data"] = made
    for position, name in enumerate(names):
        limit = _limit(plan, name, names[position + 1 :])
        results[name] = _part(plan, name, data, limit)
        _keep(plan, results)
    return results


def _limit(plan: Run, name: str, later: list[str]) -> float:
    """Seconds of a part: its share of what is left, or all but what later parts need."""
    left, scale = plan.until - time.time(), plan.seconds / WHOLE
    share = left * PARTS[name] / sum(PARTS[other] for other in (name, *later))
    if name != PATIENT:
        return max(0.0, min(scale * PARTS[name], share))
    return max(share, left - scale * sum(PARTS[other] for other in later), 0.0)


def _stand_ins(plan: Run, folder: Path) -> dict[str, Any]:
    full = ["--full"] if plan.size == "full" else []
    command = [sys.executable, "-m", "benchmarks.gpu.data", str(folder), *full]
    return limited(command, max(0.0, plan.until - time.time()) / 4, plan.out / "gpu.log")


def _part(plan: Run, name: str, data: Path, limit: float) -> dict[str, Any]:
    record, work = plan.out / f"{name}.json", plan.work / name
    record.unlink(missing_ok=True)
    work.mkdir(parents=True)
    options = {"record": record, "device": plan.device, "size": plan.size, "data": data, "work": work}
    arguments = [f"--{option}={value}" for option, value in {**options, "until": time.time() + limit}.items()]
    found = limited([sys.executable, "-m", f"benchmarks.gpu.{name}", *arguments], limit, plan.out / "gpu.log")
    measured: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):  # it ended before it measured anything
        measured = json.loads(record.read_text())
    record.unlink(missing_ok=True)
    return {**found, "measured": measured}


def limited(command: list[str], seconds: float, log: Path) -> dict[str, Any]:
    """Run a command, and kill it with all that it has started when its time is up.

    Args:
        command: the command; it runs in the repository's root.
        seconds: its limit.
        log: file to which its output is added.

    Returns:
        ``status`` (``done``, ``failed`` or ``timed out``), ``reason`` and ``seconds``.
    """
    started = time.monotonic()
    with open(log, "ab") as output:
        output.write(f"== {' '.join(command[1:3])}\n".encode())
        output.flush()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=_environment(),
            process_group=0,
        )
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _kill_group(process)
    took = time.monotonic() - started
    if code is None:
        return {"status": "timed out", "reason": f"took longer than {seconds:.0f} s", "seconds": took}
    reason = "" if code == 0 else f"exit code {code}: {_last_line(log)}"
    return {"status": "done" if code == 0 else "failed", "reason": reason, "seconds": took}


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of the process and of its own, which may outlive it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        if process.poll() is None and number == signal.SIGTERM:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
    process.wait()


def _environment() -> dict[str, str]:
    """One thread, as every worker has."""
    former = os.environ.get("PYTHONPATH")
    paths = [str(ROOT / "src"), str(ROOT), *([former] if former else [])]
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(paths)}


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""


def _keep(plan: Run, results: dict[str, dict[str, Any]]) -> None:
    """Write everything measured so far, and its page."""
    from benchmarks.gpu.table import page

    content = {"device": plan.device, "size": plan.size, "data_carried": plan.data is not None, "parts": results}
    for name, text in (("gpu.json", json.dumps(content, indent=1) + "\n"), ("gpu.md", page(content))):
        temporary = plan.out / f"{name}.tmp"
        temporary.write_text(text)
        os.replace(temporary, plan.out / name)
