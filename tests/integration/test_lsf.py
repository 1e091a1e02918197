"""Studies through the project's own fake of LSF; none of this has run on IBM LSF."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import batch
from helpers.batch import (
    BIN,
    REPOSITORY,
    SLOW,
    Environment,
    checkpointed,
    jobs,
    log,
    paced,
    submit,
    wait_for_end,
    write_site,
)
from helpers.studies import ENVIRONMENT, Numbers, children, endings, numbers, wait_until, write

FAKE = REPOSITORY / "tests/helpers/fake_lsf"


@pytest.fixture
def lsf(tmp_path: Path) -> Iterator[Environment]:
    """An environment in which ``bsub`` and the others are the fake ones."""
    queue = tmp_path / "queue"
    queue.mkdir()
    yield paced({**ENVIRONMENT, "FAKE_LSF": str(queue), "PATH": f"{FAKE}:{BIN}:{ENVIRONMENT['PATH']}"})
    for keeper in queue.glob("*/keeper.json"):
        end_session(int(keeper.read_text()), keeper.parent)


def end_session(keeper: int, folder: Path) -> None:
    """Kill what runs a job, if it still does, and the job."""
    with contextlib.suppress(OSError):  # it has ended
        words = Path(f"/proc/{keeper}/cmdline").read_text().split("\0")
        if str(folder) in words:  # else the number has gone to another process
            left = children(keeper)
            os.kill(keeper, signal.SIGKILL)
            for pid in itertools.chain.from_iterable(map(session, left)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def session(leader: int) -> list[int]:
    """Processes of the session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] not in "ZX":
            found.append(int(path.parent.name))
    return found


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path, scheduler="lsf", nodes=2, time="00:10:00")


def bsub(environment: Environment, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bsub", *options], input=script, capture_output=True, text=True, env=environment, cwd=environment["FAKE_LSF"]
    )


def bjobs(environment: Environment, job: str) -> list[str]:
    """``INDEX STATE`` of each element."""
    words = ["bjobs", "-a", "-noheader", "-o", "jobindex stat delimiter='|'", job]
    return subprocess.run(words, capture_output=True, text=True, env=environment, check=True).stdout.split()


@pytest.mark.parametrize(
    ("directive", "fault"),
    [
        ("--job-name x", "Illegal option"),
        ("-wat USR1", "Illegal option"),
        ("-W 1h", "Bad argument"),
        ("-wa USR1", "must be given together"),
        ('-J "x[0-3]"', "Bad argument"),
        ('-w "ended(77)"', "No matching job"),
        ("-n", "requires an argument"),
    ],
)
def test_fake_refuses_what_lsf_would(lsf: Environment, directive: str, fault: str) -> None:
    done = bsub(lsf, f"#!/bin/bash\n#BSUB {directive}\ntrue\n")
    assert done.returncode == 255
    assert fault in done.stderr


def test_fake_runs_an_array_with_its_cap_and_its_variables(lsf: Environment, tmp_path: Path) -> None:
    body = f'echo "$LSB_JOBNAME $LSB_JOBID $LSB_DJOB_NUMPROC $LSB_HOSTS" >{tmp_path}/$LSB_JOBINDEX; sleep 0.3'
    body += f"; ls {tmp_path}/running* | wc -l >>{tmp_path}/most; rm {tmp_path}/running$LSB_JOBINDEX"
    script = (
        f'#!/bin/bash\n#BSUB -J "it[1-5]%2" -n 2\n#BSUB -o out.%J-%I\ntouch {tmp_path}/running$LSB_JOBINDEX\n{body}\n'
    )
    assert "Job <1> is submitted" in bsub(lsf, script).stdout
    wait_until(lambda: bjobs(lsf, "1") == [f"{index}|DONE" for index in range(1, 6)], 60, every=0.5)
    assert (tmp_path / "5").read_text() == "it[5] 1 2 localhost localhost\n"
    assert max(map(int, (tmp_path / "most").read_text().split())) == 2
    assert "exit code 0" in (tmp_path / "queue/out.1-3").read_text()


def test_fake_warns_and_ends_at_the_limit(lsf: Environment, tmp_path: Path) -> None:
    script = "#!/bin/bash\n#BSUB -W 2\n#BSUB -wa USR1 -wt 1\n"
    script += "".join(f"trap 'echo {name} >>{tmp_path}/told' {name}\n" for name in ("USR1", "USR2", "INT", "TERM"))
    bsub({**lsf, "FAKE_LSF_MINUTE": "2", "FAKE_LSF_KILL": "2"}, script + "while :; do sleep 0.1; done\n")
    wait_until(lambda: bjobs(lsf, "1") == ["0|EXIT"], 60, every=0.5)
    assert (tmp_path / "told").read_text().split() == ["USR1", "USR2", "INT", "TERM"]


# --- a study


def test_array_is_trained_and_gathered_at_the_end(
    lsf: Environment, undisturbed: Numbers, site: Path, tmp_path: Path
) -> None:
    folder = tmp_path / 'it\'s $(touch pwned) "%J" #1'
    folder.mkdir()
    config, root = write(folder), folder / "studies/tiny"
    made = submit(lsf, config, "--site", site, "--array-size", 3)
    first = jobs(lsf, config)
    assert first[made["gather"]]["state"] == "PEND"
    assert "dependency" in first[made["gather"]]["reason"]
    found = wait_for_end(lsf, config)
    assert [row["state"] for row in found.values()] == ["3 DONE", "DONE"], log(root)
    assert numbers(root) == undisturbed
    assert endings(root) == [1] * 6
    assert (root / "report.html").exists()
    assert not list(tmp_path.rglob("pwned"))


def test_mpi_is_trained_in_one_allocation(lsf: Environment, undisturbed: Numbers, site: Path, tmp_path: Path) -> None:
    config, root = write(tmp_path), tmp_path / "studies/tiny"
    submit(lsf, config, "--site", site, "--launcher", "mpi")
    found = wait_for_end(lsf, config)
    assert [row["state"] for row in found.values()] == ["DONE", "DONE"], log(root)
    assert numbers(root) == undisturbed
    assert endings(root) == [1] * 6


def test_signal_before_the_limit_checkpoints_and_requeues(lsf: Environment, site: Path, tmp_path: Path) -> None:
    config, root = write(tmp_path, SLOW), tmp_path / "studies/tiny"
    made = submit(lsf, config, "--site", site, "--array-size", 1)
    wait_until(lambda: bool(checkpointed(root)))
    (tmp_path / "queue" / made["job"] / "warn").touch()
    wait_until(lambda: "requeued: stopped with checkpoints" in log(root))
    assert checkpointed(root)
    found = wait_for_end(lsf, config)
    assert found[made["job"]]["restarts"] == 1
    assert [row["state"] for row in found.values()] == ["DONE", "DONE"], log(root)
    assert endings(root) == [1] * 6


def test_gives_up_and_still_gathers(lsf: Environment, site: Path, tmp_path: Path) -> None:
    """A command that is killed each time: three restarts, then the end; what depends on it runs."""
    config, root = write(tmp_path), tmp_path / "studies/tiny"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/bash\n[ "$4" = report ] && exec {sys.executable} "$@"\nkill -KILL $$\n')
    python.chmod(0o700)
    site.write_text(json.dumps({**json.loads(site.read_text()), "python": str(python)}))
    made = submit(lsf, config, "--site", site, "--array-size", 1)
    found = wait_for_end(lsf, config)
    assert found[made["job"]]["restarts"] == 3
    assert "giving up after 3 restarts: ended by exit code 137" in log(root)
    assert [row["state"] for row in found.values()] == ["EXIT", "EXIT"]
    assert "no member has been trained yet" in (root / f"jobs/{made['name']}.gather.{made['gather']}.out").read_text()


@pytest.mark.parametrize(("launcher", "state"), [("array", "2 EXIT"), ("mpi", "EXIT")])
def test_cancelled_jobs_checkpoint_and_stay_away(
    lsf: Environment, site: Path, tmp_path: Path, launcher: str, state: str
) -> None:
    config, root = write(tmp_path, SLOW), tmp_path / "studies/tiny"
    size = ("--array-size", 2) if launcher == "array" else ()
    made = submit(lsf, config, "--site", site, "--launcher", launcher, *size, "--nodes", 1)
    wait_until(lambda: bool(checkpointed(root)))
    done = batch.call(lsf, "cancel", config)
    assert f"cancelled job {made['gather']}, {made['job']}" in done.stdout, done.stderr
    found = wait_for_end(lsf, config)
    assert [row["state"] for row in found.values()] == [state, "EXIT"]
    assert "cancelled, so not requeued: stopped with checkpoints" in log(root)
    assert checkpointed(root)
    assert not list(root.glob("members/*/*/running.json"))
    assert "no job of this study waits or runs" in batch.call(lsf, "cancel", config).stdout


@pytest.mark.parametrize("name", ["lsf-array", "lsf-mpi"])
def test_ready_script_trains_the_study(lsf: Environment, undisturbed: Numbers, tmp_path: Path, name: str) -> None:
    config = write(tmp_path)
    done = bsub({**lsf, "CONFIG": str(config)}, (REPOSITORY / f"jobs/{name}.lsf").read_text())
    assert done.returncode == 0, done.stderr
    wait_until(lambda: all("DONE" in line or "EXIT" in line for line in bjobs(lsf, "1")), 240, every=2.0)
    said = "".join(path.read_text() for path in (tmp_path / "queue").glob("*.log"))
    assert all("DONE" in line for line in bjobs(lsf, "1")), said
    assert numbers(tmp_path / "studies/tiny") == undisturbed


def test_refusal_is_passed_on(lsf: Environment, site: Path, tmp_path: Path) -> None:
    refusing = tmp_path / "bin"
    refusing.mkdir()
    (refusing / "bsub").write_text("#!/bin/sh\necho 'moon: No such queue. Job not submitted.' >&2\nexit 255\n")
    (refusing / "bsub").chmod(0o700)
    away = {**lsf, "PATH": f"{refusing}:{lsf['PATH']}"}
    done = batch.call(away, "submit", write(tmp_path), "--site", site, "--queue", "moon")
    assert done.returncode == 2
    assert "error: bsub refused: moon: No such queue" in done.stderr
    assert not list((tmp_path / "studies/tiny/jobs").iterdir())
