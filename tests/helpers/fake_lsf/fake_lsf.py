"""As much of LSF as a study needs, so that scripts for it can be run where there is none.

``bsub`` parses the directives of the script and refuses what LSF does not know, leaves the
job in a folder of ``$FAKE_LSF`` and starts a keeper for it: this file as a process of its
own. The keeper waits for what ``-w`` names, runs the elements, at most so many at a time as
``%P`` says, sends the signals before and at the time limit to every process of an element,
and runs an element again that exits with a code of ``-Q``. A minute of ``-W`` and ``-wt``
lasts ``$FAKE_LSF_MINUTE`` seconds; a file ``warn`` in the job's folder brings the signal of
``-wa`` at once. It follows LSF's manual and was never held against LSF.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WITH_VALUE = {
    "J",
    "o",
    "e",
    "n",
    "R",
    "gpu",
    "nnodes",
    "W",
    "P",
    "q",
    "U",
    "m",
    "u",
    "alloc_flags",
    "Q",
    "wa",
    "wt",
    "w",
}
WITHOUT = {"r", "x"}
POLL = 0.05
KILL_SECONDS = float(os.environ.get("FAKE_LSF_KILL", "10"))
"""Between SIGINT, SIGTERM and SIGKILL; ten are the default of LSF."""


def home() -> Path:
    """Where the jobs lie."""
    folder = Path(os.environ["FAKE_LSF"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def minute() -> float:
    """How long a minute lasts."""
    return float(os.environ.get("FAKE_LSF_MINUTE", "60"))


def refuse(text: str) -> None:
    """Say why, and exit as LSF's commands do."""
    print(text, file=sys.stderr)
    sys.exit(255)


def write(path: Path, value: Any) -> None:
    """Replace the file at once, since others read it."""
    own = path.with_suffix(f".{os.getpid()}")
    own.write_text(json.dumps(value))
    own.replace(path)


# --- bsub


def parse(words: list[str]) -> dict[str, str]:
    """Options and their values; several ``-R`` are one."""
    found: dict[str, str] = {}
    rest = list(words)
    while rest:
        option = rest.pop(0)
        name = option.removeprefix("-")
        if not option.startswith("-") or name not in WITH_VALUE | WITHOUT:
            refuse(f"{option}: Illegal option. Job not submitted.")
        if name in WITH_VALUE and not rest:
            refuse(f"bsub: option requires an argument -- {name}. Job not submitted.")
        value = rest.pop(0) if name in WITH_VALUE else "yes"
        found[name] = f"{found[name]} {value}" if name == "R" and "R" in found else value
    return found


def check(options: dict[str, str]) -> None:
    """Refuse values that LSF would refuse."""
    patterns = {
        "J": r"[A-Za-z0-9][\w.-]*(\[1-\d+\](%\d+)?)?",
        "n": r"\d+",
        "nnodes": r"\d+",
        "W": r"(\d+:)?\d+",
        "wt": r"(\d+:)?\d+",
        "wa": r"[A-Z0-9]+",
        "Q": r"\d+( \d+)*",
        "gpu": r"num=\d+(:[\w=]+)*",
        "R": r"((span|rusage|select)\[[^]]+\] ?)+",
        "w": r"(ended|done)\(\d+\)",
    }
    for name, pattern in patterns.items():
        if name in options and not re.fullmatch(pattern, options[name]):
            refuse(f"{options[name]}: Bad argument for option -{name}. Job not submitted.")
    if ("wa" in options) != ("wt" in options):
        refuse("-wa and -wt must be given together. Job not submitted.")
    if "w" in options and not (home() / re.sub(r"\D", "", options["w"])).exists():
        refuse(f"{options['w']}: No matching job found. Job not submitted.")


def bsub(arguments: list[str]) -> None:
    """Submit the script on standard input."""
    script = sys.stdin.read()
    words: list[str] = []
    for line in script.splitlines():
        if line.startswith("#BSUB"):
            words += shlex.split(line.removeprefix("#BSUB"), comments=True)
    options = parse(words) | parse(arguments)
    check(options)
    number = 1
    while True:
        folder = home() / str(number)
        try:
            folder.mkdir()
            break
        except FileExistsError:
            number += 1
    path = folder / "script"
    path.write_text(script)
    path.chmod(0o700)
    array = re.search(r"\[1-(\d+)\](?:%(\d+))?", options.get("J", ""))
    count = int(array[1]) if array else 0
    job = {
        "id": number,
        "options": options,
        "name": options.get("J", "job").partition("[")[0],
        "count": count,
        "most": int(array[2] or count) if array else 1,
        "cwd": os.getcwd(),
    }
    write(folder / "job.json", job)
    indices = range(1, count + 1) if count else [0]
    write(folder / "states.json", {str(index): {"stat": "PEND", "reason": ""} for index in indices})
    with open(folder / "keeper.log", "w") as log:
        keeper = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    write(folder / "keeper.json", keeper.pid)
    print(f"Job <{number}> is submitted to queue <{options.get('q', 'normal')}>.")


# --- bjobs and bkill


def bjobs(arguments: list[str]) -> None:
    """``bjobs -a -noheader -o "FIELDS delimiter='|'" ID…``."""
    if arguments[:3] != ["-a", "-noheader", "-o"] or len(arguments) < 5:
        refuse(f"bjobs: the fake knows -a -noheader -o FORMAT ID only, got {arguments}")
    fields = arguments[3].replace("delimiter='|'", "").split()
    for name in arguments[4:]:
        folder = home() / name
        if not folder.exists():
            refuse(f"Job <{name}> is not found")
        for index, told in json.loads((folder / "states.json").read_text()).items():
            waits = told["stat"] == "PEND"
            row = {"jobid": name, "jobindex": index, "stat": told["stat"]}
            row["exit_reason"] = "-" if waits else told["reason"] or "-"
            row["pend_reason"] = (told["reason"] or "-") if waits else "-"
            print("|".join(row[field] for field in fields))


def bkill(arguments: list[str]) -> None:
    """``bkill ID…``."""
    for name in arguments:
        folder = home() / name
        if not folder.exists():
            refuse(f"Job <{name}>: No matching job found")
        states = json.loads((folder / "states.json").read_text()).values()
        if all(state["stat"] in ("DONE", "EXIT") for state in states):
            refuse(f"Job <{name}>: Job has already finished")
        (folder / "kill").touch()
        print(f"Job <{name}> is being terminated")


# --- the keeper


class Element:
    """One run of one element."""

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
        """SIGINT, SIGTERM and SIGKILL, one after the other."""
        if not self.killed:
            self.killed = True
            now = time.monotonic() - self.started
            steps = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
            self.plan = [(now + step * KILL_SECONDS, number) for step, number in enumerate(steps)]

    def over(self) -> bool:
        """Whether it has ended; sends what is due."""
        if self.process.poll() is not None:
            return True
        while self.plan and time.monotonic() - self.started >= self.plan[0][0]:
            _, number = self.plan.pop(0)
            send(self.process.pid, number)
        return False

    def end(self) -> int:
        """Clear up; the exit code. Output is kept unless the element runs again."""
        send(self.process.pid, signal.SIGKILL)
        code = self.process.returncode
        code = 128 - code if code < 0 else code
        if not self.again(code):
            with open(self.output, "a") as output:
                output.write(f"{self.text.read_text()}\nThe fake LSF's report: exit code {code}\n")
        return code

    def again(self, code: int) -> bool:
        """Whether ``-Q`` makes it run again."""
        return not self.killed and str(code) in self.job["options"].get("Q", "").split()


def send(session: int, number: int) -> None:
    """To every process of the session, whatever group it is in: an element cannot escape."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                os.kill(int(path.parent.name), number)
        except (OSError, ValueError):
            continue


def minutes(text: str) -> int:
    """``H:M`` or ``M``."""
    hours, _, rest = text.rpartition(":")
    return 60 * int(hours or 0) + int(rest)


def keep(folder: Path) -> None:
    """Run the job to its end."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored in the background of a shell, and then of every job
    job = json.loads((folder / "job.json").read_text())
    states = json.loads((folder / "states.json").read_text())
    waiting = [int(index) for index in states]
    running: list[Element] = []
    dependency = re.search(r"\d+", job["options"].get("w", ""))

    def told(index: int, stat: str, reason: str = "") -> None:
        states[str(index)] = {"stat": stat, "reason": reason}
        write(folder / "states.json", states)

    if dependency:
        for index in waiting:
            told(index, "PEND", f"Job dependency condition not satisfied: {job['options']['w']}")
    while waiting or running:
        killed = (folder / "kill").exists()
        if killed:
            for index in waiting:
                told(index, "EXIT", "TERM_OWNER: job killed by owner")
            waiting = []
            for element in running:
                element.kill()
        if (folder / "warn").exists():
            (folder / "warn").unlink()
            for element in running:
                send(element.process.pid, signal.Signals[f"SIG{job['options']['wa']}"])
        ready = not dependency or ended(home() / dependency[0])
        while ready and waiting and len(running) < job["most"]:
            index = waiting.pop(0)
            running.append(Element(job, folder, index))
            told(index, "RUN")
        for element in [element for element in running if element.over()]:
            running.remove(element)
            code = element.end()
            if element.again(code):
                waiting.append(element.index)
                told(element.index, "PEND", "Job requeued for next run")
            else:
                reason = "TERM_OWNER: job killed by owner" if element.killed else f"exit code {code}" if code else ""
                told(element.index, "DONE" if code == 0 else "EXIT", reason)
        time.sleep(POLL)


def ended(folder: Path) -> bool:
    """Whether every element of another job is over."""
    states = json.loads((folder / "states.json").read_text()).values()
    return all(state["stat"] in ("DONE", "EXIT") for state in states)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
