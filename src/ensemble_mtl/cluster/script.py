"""The body of a job script, which is the same for every scheduler except for a few lines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from ensemble_mtl.cluster.base import Job, Shell
from ensemble_mtl.cluster.site import seconds

MAX_LINE = 110
"""Most characters in a line of a script, unless a single word is longer."""


class Dialect(NamedTuple):
    """The lines in which the scripts of two schedulers differ, below their directives.

    Attributes:
        start: first lines of the script.
        end: shell for the time at which the allocation ends, with ``{}`` in place of the time limit; empty where the
            scheduler does not tell the time.
        restarts: shell for the number of restarts so far.
        traps: lines that make the script survive the signals that ask it to stop.
        requeue: lines that make the job run again, or end it.
    """

    start: list[str]
    end: str
    restarts: str
    traps: list[str]
    requeue: list[str]


_SUPERVISED = """\
submission={folder}
restarts={restarts}
again() {{ # why
    if [ -e "$submission/cancelled" ]; then
        echo "ensemble-mtl: cancelled, so not requeued: $1"
    elif [ "$restarts" -ge {max_requeues} ]; then
        echo "ensemble-mtl: giving up after $restarts restarts: $1; the same submit continues"
    else
        echo "ensemble-mtl: requeued: $1"
{requeue}
    fi
    exit 1
}}

{traps}
{command} &
child=$!
while kill -0 "$child" 2>/dev/null; do wait "$child"; done # a signal ends a wait, not the child
wait "$child"
code=$?
case $code in
    0 | 1 | 2 | 3 | 126 | 127) exit $code ;; # as `ensemble-mtl --help` says; 126, 127: cannot be started
    99) again "stopped with checkpoints" ;;
    *) again "ended by exit code $code" ;; # a process was killed
esac
"""


def script(job: Job, directives: Sequence[str], dialect: Dialect) -> str:
    """Return the whole script: directives, the site's setup, and the command with the code that supervises it."""
    lines = ["#!/bin/bash", *directives, f"# Made by `ensemble-mtl submit` for the site {job.site.name}.", ""]
    lines += [*dialect.start, *job.site.setup]
    lines += ["export OMP_NUM_THREADS=1", *(f"export {k}={quote(v)}" for k, v in job.site.environment.items())]
    command = wrap(job.command)
    if not job.resumable:
        return "\n".join([*lines, f"exec {command}", ""])
    limit = f"$(($(date +%s) + {seconds(job.time)}))"
    lines.append(f'export ENSEMBLE_MTL_DEADLINE="{dialect.end.format(limit) or limit}"')
    supervised = _SUPERVISED.format(
        restarts=dialect.restarts,
        folder=quote(str(job.folder)),
        max_requeues=job.site.max_requeues,
        requeue="\n".join(f"        {line}" for line in dialect.requeue),
        traps="\n".join(dialect.traps),
        command=command,
    )
    return "\n".join([*lines, supervised])


def quote(word: str) -> str:
    """Return ``word`` quoted for the shell, on one line even if it contains line breaks.

    A further line could be taken for a directive by the scheduler.
    """
    if isinstance(word, Shell):
        return word
    if not re.search(r"[\x00-\x1f\x7f]", word):
        return shlex.quote(word)
    escaped = "".join(f"\\x{ord(c):02x}" if c < " " or c == "\x7f" else c for c in re.sub(r"([\\'])", r"\\\1", word))
    return f"$'{escaped}'"


def wrap(words: Sequence[str]) -> str:
    """Return the words as one quoted command, broken into lines of at most :data:`MAX_LINE` characters."""
    lines = [""]
    for word in map(quote, words):
        if lines[-1] and len(lines[-1]) + len(word) > MAX_LINE:
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(lines)
