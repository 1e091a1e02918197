"""An imitation of the LSF commands that a study needs, so that scripts for LSF can be run where there is none.

``bsub`` parses the directives of the script and refuses what LSF does not know. It writes the job into a folder of
``$FAKE_LSF``, and starts a keeper for it, a process that runs the job (``keeper.py``). ``bjobs`` and ``bkill`` read and
write files of that folder. The imitation follows LSF's manual and was never compared with LSF.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

WITH_VALUE = {*"JoenRWPqUmuQw", "gpu", "nnodes", "alloc_flags", "wa", "wt"}
"""Options of ``bsub`` that take a value."""
WITHOUT_VALUE = {"r", "x"}
"""Options of ``bsub`` that take no value."""


def home() -> Path:
    """Return the folder in which each job has a folder."""
    folder = Path(os.environ["FAKE_LSF"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def minute() -> float:
    """Return how many seconds a minute of LSF lasts."""
    return float(os.environ.get("FAKE_LSF_MINUTE", "60"))


def refuse(text: str) -> None:
    """Print the reason, and exit as LSF's commands do."""
    print(text, file=sys.stderr)
    sys.exit(255)


def write(path: Path, value: Any) -> None:
    """Write a JSON file atomically, since other processes read it."""
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


# --- bsub


def parse(words: list[str]) -> dict[str, str]:
    """Return option -> value; the values of several ``-R`` are joined."""
    options: dict[str, str] = {}
    unread = list(words)
    while unread:
        option = unread.pop(0)
        name = option.removeprefix("-")
        if not option.startswith("-") or name not in WITH_VALUE | WITHOUT_VALUE:
            refuse(f"{option}: Illegal option. Job not submitted.")
        if name in WITH_VALUE and not unread:
            refuse(f"bsub: option requires an argument -- {name}. Job not submitted.")
        value = unread.pop(0) if name in WITH_VALUE else "yes"
        options[name] = f"{options[name]} {value}" if name == "R" and "R" in options else value
    return options


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
    """Submit the script on standard input, as ``bsub`` does."""
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
        "max_running": int(array[2] or count) if array else 1,
        "cwd": os.getcwd(),
    }
    write(folder / "job.json", job)
    indices = range(1, count + 1) if count else [0]
    write(folder / "states.json", {str(index): {"stat": "PEND", "reason": ""} for index in indices})
    with open(folder / "keeper.log", "w") as log:
        keeper = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("keeper.py")), str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    write(folder / "keeper.json", keeper.pid)
    print(f"Job <{number}> is submitted to queue <{options.get('q', 'normal')}>.")


# --- bjobs and bkill


def bjobs(arguments: list[str]) -> None:
    """Print the states of jobs, as ``bjobs -a -noheader -o "FIELDS delimiter='|'" ID…`` does."""
    if arguments[:3] != ["-a", "-noheader", "-o"] or len(arguments) < 5:
        refuse(f"bjobs: the fake knows -a -noheader -o FORMAT ID only, got {arguments}")
    fields = arguments[3].replace("delimiter='|'", "").split()
    for name in arguments[4:]:
        folder = home() / name
        if not folder.exists():
            refuse(f"Job <{name}> is not found")
        for index, state in json.loads((folder / "states.json").read_text()).items():
            waits = state["stat"] == "PEND"
            row = {"jobid": name, "jobindex": index, "stat": state["stat"]}
            row["exit_reason"] = "-" if waits else state["reason"] or "-"
            row["pend_reason"] = (state["reason"] or "-") if waits else "-"
            print("|".join(row[field] for field in fields))


def bkill(arguments: list[str]) -> None:
    """Kill jobs, as ``bkill ID…`` does."""
    for name in arguments:
        folder = home() / name
        if not folder.exists():
            refuse(f"Job <{name}>: No matching job found")
        states = json.loads((folder / "states.json").read_text()).values()
        if all(state["stat"] in ("DONE", "EXIT") for state in states):
            refuse(f"Job <{name}>: Job has already finished")
        (folder / "kill").touch()
        print(f"Job <{name}> is being terminated")
