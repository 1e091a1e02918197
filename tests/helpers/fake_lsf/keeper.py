"""The keeper of one job of the imitated LSF; it runs as a process, with the job's folder as its argument.

The keeper waits for the job that ``-w`` names. It runs the elements, at most as many at a time as ``%P`` says, and
sends the signals before and at the time limit to every process of an element. An element that exits with a code of
``-Q`` runs again. A file ``warn`` in the job's folder makes the keeper send the signal of ``-wa`` at once, and a file
``kill`` makes it end the job. A minute of ``-W`` and ``-wt`` lasts ``$FAKE_LSF_MINUTE`` seconds.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fake_lsf import home, minute, write

POLL_SECONDS = 0.05
"""How often the keeper looks at its elements and files."""
KILL_SECONDS = float(os.environ.get("FAKE_LSF_KILL", "10"))
"""Time between SIGINT, SIGTERM and SIGKILL; LSF's default is 10 s."""


class Element:
    """One run of one element of the job's array, or of the whole job if it is no array."""

    def __init__(self, job: dict[str, Any], folder: Path, index: int) -> None:
        self.job, self.index = job, index
        options = job["options"]
        slots = int(options.get("n", 1))
        output = options.get("o", "/dev/null").replace("%J", str(job["id"])).replace("%I", str(index))
        self.output = Path(job["cwd"], output)
        self.text = folder / f"output-{index}"
        environment = {
            **os.environ,
            "LSB_JOBID": str(job["id"]),
            "LSB_JOBINDEX": str(index),
            "LSB_JOBNAME": f"{job['name']}[{index}]" if job["count"] else job["name"],
            "LSB_DJOB_NUMPROC": str(slots),
            "LSB_HOSTS": " ".join(["localhost"] * slots),
            "LSB_EXIT_REQUEUE": options.get("Q", ""),
        }
        with open(self.text, "w") as log:
            self.process = subprocess.Popen(
                [str(folder / "script")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=job["cwd"],
                env=environment,
                start_new_session=True,
            )
        limit = minutes(options.get("W", "60")) * minute()
        self.plan = [(limit, signal.SIGUSR2), (limit + KILL_SECONDS, signal.SIGINT)]
        self.plan += [(limit + 2 * KILL_SECONDS, signal.SIGTERM), (limit + 3 * KILL_SECONDS, signal.SIGKILL)]
        if "wa" in options:
            before = minutes(options["wt"]) * minute()
            self.plan.append((limit - before, signal.Signals[f"SIG{options['wa']}"]))
        self.plan.sort()
        self.started, self.killed = time.monotonic(), False

    def kill(self) -> None:
        """Send SIGINT, SIGTERM and SIGKILL, one after the other."""
        if not self.killed:
            self.killed = True
            now = time.monotonic() - self.started
            steps = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
            self.plan = [(now + step * KILL_SECONDS, number) for step, number in enumerate(steps)]

    def poll(self) -> bool:
        """Send the signals that are due, and return whether the run has ended."""
        if self.process.poll() is not None:
            return True
        while self.plan and time.monotonic() - self.started >= self.plan[0][0]:
            _, number = self.plan.pop(0)
            send(self.process.pid, number)
        return False

    def end(self) -> int:
        """Kill what is left of the run, keep its output unless the element runs again, and return the exit code."""
        send(self.process.pid, signal.SIGKILL)
        code = self.process.returncode
        code = 128 - code if code < 0 else code
        if not self.runs_again(code):
            with open(self.output, "a") as output:
                output.write(f"{self.text.read_text()}\nThe fake LSF's report: exit code {code}\n")
        return code

    def runs_again(self, code: int) -> bool:
        """Return whether the element runs again after this exit code, by ``-Q``."""
        return not self.killed and str(code) in self.job["options"].get("Q", "").split()


def send(session: int, number: int) -> None:
    """Send a signal to every process of the session, whatever its group, so that none of an element escapes."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                os.kill(int(path.parent.name), number)
        except (OSError, ValueError):
            continue


def minutes(text: str) -> int:
    """Return the minutes of a text ``H:M`` or ``M``."""
    hours, _, last = text.rpartition(":")
    return 60 * int(hours or 0) + int(last)


def keep(folder: Path) -> None:
    """Run the job to its end."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell lets its background ignore it, and jobs inherit that
    job = json.loads((folder / "job.json").read_text())
    states = json.loads((folder / "states.json").read_text())
    waiting = [int(index) for index in states]
    running: list[Element] = []
    dependency = re.search(r"\d+", job["options"].get("w", ""))

    def set_state(index: int, stat: str, reason: str = "") -> None:
        """Write the state of an element, for ``bjobs``."""
        states[str(index)] = {"stat": stat, "reason": reason}
        write(folder / "states.json", states)

    if dependency:
        for index in waiting:
            set_state(index, "PEND", f"Job dependency condition not satisfied: {job['options']['w']}")
    while waiting or running:
        killed = (folder / "kill").exists()
        if killed:
            for index in waiting:
                set_state(index, "EXIT", "TERM_OWNER: job killed by owner")
            waiting = []
            for element in running:
                element.kill()
        if (folder / "warn").exists():
            (folder / "warn").unlink()
            for element in running:
                send(element.process.pid, signal.Signals[f"SIG{job['options']['wa']}"])
        ready = not dependency or ended(home() / dependency[0])
        while ready and waiting and len(running) < job["max_running"]:
            index = waiting.pop(0)
            running.append(Element(job, folder, index))
            set_state(index, "RUN")
        for element in [element for element in running if element.poll()]:
            running.remove(element)
            code = element.end()
            if element.runs_again(code):
                waiting.append(element.index)
                set_state(element.index, "PEND", "Job requeued for next run")
            else:
                reason = "TERM_OWNER: job killed by owner" if element.killed else f"exit code {code}" if code else ""
                set_state(element.index, "DONE" if code == 0 else "EXIT", reason)
        time.sleep(POLL_SECONDS)


def ended(folder: Path) -> bool:
    """Return whether every element of another job has ended."""
    states = json.loads((folder / "states.json").read_text()).values()
    return all(state["stat"] in ("DONE", "EXIT") for state in states)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
