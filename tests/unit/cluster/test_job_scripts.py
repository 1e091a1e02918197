"""Job scripts: what they say, and what they do when they run.

``ENSEMBLE_MTL_GOLDEN=write pytest tests/unit/cluster/test_job_scripts.py`` renews the golden files.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers.submissions import request, text
from helpers.system import skip_without

from ensemble_mtl.cluster import submissions
from ensemble_mtl.cluster.jobs import LAUNCHERS, default_elements, gathering
from ensemble_mtl.config import registry

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parent / "golden"
SITES = sorted((ROOT / "hpc/sites").glob("*.yaml"))
HOSTILE = [
    "two words",
    "it's",
    'so "called"',
    "$(touch pwned)",
    "`touch pwned`",
    "a;touch pwned",
    "a\n#SBATCH --wrap=x\n#BSUB -q x\ntouch pwned",
    "back\\slash\\n and 'quote'\n",
    "tab\tand\x01",
    "${HOME} *",
    "größe",
]


# --- what scripts say


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("profile", ["laptop", "lsf", "summit", "perlmutter"])
def test_script_is_the_golden_one(profile: str, launcher: str) -> None:
    for name, found in submissions.scripts(request(Path("/studies/quickstart"), launcher, profile=profile)).items():
        if name.endswith(".gather.sh") and launcher != "array":
            continue  # the same but for its name
        path = GOLDEN / f"{profile}-{name}"
        if os.environ.get("ENSEMBLE_MTL_GOLDEN") == "write":
            path.write_text(found)
        assert path.read_text() == found


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_script_is_short_and_clean_shell(path: Path, launcher: str, tmp_path: Path) -> None:
    asked = request(tmp_path / "it's here", launcher, profile=path.stem)
    files = []
    for name, found in submissions.scripts(asked).items():
        assert len(found.splitlines()) < 60
        files.append(tmp_path / name)
        files[-1].write_text(found)
        subprocess.run(["bash", "-n", files[-1]], check=True)
    skip_without("shellcheck")
    subprocess.run(["shellcheck", "--exclude=SC1091", *files], check=True)


def test_script_is_a_pure_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request(tmp_path / "study", "mpi", scheduler="slurm")
    first = text(asked)
    monkeypatch.chdir("/")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert text(asked) == first
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("scheduler", registry.names("cluster"))
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_no_word_makes_a_directive(scheduler: str, launcher: str) -> None:
    plain = text(request(Path("/studies/x"), launcher, scheduler=scheduler))
    for word in HOSTILE:
        given = {"python": word, "environment": {"X": word}, "mpi": (word,), "per_node": (word,)}
        given = {key: value for key, value in given.items() if "{" not in word or key not in ("mpi", "per_node")}
        found = text(request(Path(f"/studies/{word}"), launcher, scheduler=scheduler, **given))
        assert [line for line in found.splitlines() if line.startswith(("#SBATCH", "#BSUB"))] == [
            line for line in plain.splitlines() if line.startswith(("#SBATCH", "#BSUB"))
        ]


def test_every_directive_is_allowed_for() -> None:
    """A site's options all reach the script."""
    slurm = {
        "name": "slurm",
        "qos": "q",
        "constraint": "gpu&hbm",
        "reservation": "r",
        "licenses": "l:1",
        "exclude": "n1",
    }
    slurm |= {"mem": "4G", "core_spec": 8, "mail_user": "a@b.c", "mail_type": "END", "exclusive": True, "gpus": "gres"}
    given = {"scheduler": slurm, "account": "acc", "queue": "part", "gpus_per_node": 2, "cpus_per_node": 4}
    found = text(request(Path("/s"), "mpi", **given))
    for line in (
        "qos=q",
        "constraint=gpu&hbm",
        "reservation=r",
        "licenses=l:1",
        "exclude=n1",
        "mem=4G",
        "core-spec=8",
        "mail-user=a@b.c",
        "mail-type=END",
        "exclusive",
        "gres=gpu:2",
        "account=acc",
        "partition=part",
        "ntasks-per-node=2",
        "cpus-per-task=2",
    ):
        assert f"\n#SBATCH --{line}\n" in found
    lsf = {"name": "lsf", "resources": "rusage[mem=4GB]", "reservation": "r", "hosts": "h1", "mail_user": "a@b.c"}
    given |= {"scheduler": {**lsf, "exclusive": True}}
    found = text(request(Path("/s"), "mpi", **given))
    for line in (
        'R "rusage[mem=4GB]"',
        'U "r"',
        'm "h1"',
        'u "a@b.c"',
        "x",
        'gpu "num=2"',
        'P "acc"',
        'q "part"',
        "n 4",
    ):
        assert f"\n#BSUB -{line}\n" in found


def test_array_has_a_small_shard_for_each_worker_and_obeys_the_cap() -> None:
    assert default_elements(request(Path("/s"), "array", scheduler="slurm")) == 21  # 7 subsets of 12: 21 stacks of 4
    assert default_elements(request(Path("/s"), "array", scheduler="slurm", cpus_per_node=4)) == 6
    assert default_elements(request(Path("/s"), "array", scheduler="slurm", max_array=5)) == 5
    assert "#SBATCH --array=1-21\n" in text(request(Path("/s"), "array", scheduler="slurm"))
    assert "#SBATCH --array=1-21%3\n" in text(request(Path("/s"), "array", scheduler="slurm", nodes=3))
    assert '[1-21]%3"\n' in text(request(Path("/s"), "array", scheduler="lsf", nodes=3))


def test_array_element_is_taken_to_its_node_where_the_site_says_how() -> None:
    found = text(request(Path("/s"), "array", profile="summit"))
    assert "\njsrun -n 1 -r 1 -a 1 -c 42 -g 6 -b none /venv/bin/python -m ensemble_mtl run" in found


# --- what scripts do


class Bench:
    """Runs a rendered script with stubs in place of Python and of the scheduler's commands."""

    def __init__(self, folder: Path, scheduler: str, launcher: str, body: str, study: str = "study") -> None:
        self.folder, self.scheduler = folder, scheduler
        self.stub("scontrol", 'printf "%s\\n" "$@" >>"$LOG/scontrol"; exit 1')  # else the script waits for its end
        for name in ("srun", "mpiexec"):
            self.stub(name, 'while [ "${1##*/}" != python ]; do shift; done; exec "$@"')
        self.stub(
            "python", f'printf "%s\\0" "$@" >"$LOG/python"; echo "$ENSEMBLE_MTL_DEADLINE" >"$LOG/deadline"; {body}'
        )
        python = str(folder / "bin/python")
        self.asked = request(folder / study, launcher, scheduler=scheduler, python=python, name="it-1")
        self.jobs = folder / study / "jobs"
        (self.jobs / "it-1").mkdir(parents=True)
        self.script = self.jobs / "it-1.sh"
        self.script.write_text(text(self.asked))

    def stub(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o700)

    def start(self, **environment: str) -> subprocess.Popen[str]:
        own = {"SLURM_JOB_ID": "7", "LSB_JOBID": "7", "LSB_JOBINDEX": "2", "SLURM_ARRAY_TASK_ID": "2"}
        own |= {"SLURM_ARRAY_JOB_ID": "6"} if self.asked.launcher == "array" else {}
        own |= {"PATH": f"{self.folder}/bin:/usr/bin:/bin", "LOG": str(self.folder), **environment}
        return subprocess.Popen(
            ["bash", self.script], env=own, cwd=self.jobs, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, **environment: str) -> tuple[int, str]:
        process = self.start(**environment)
        out, _ = process.communicate(timeout=60)
        return process.returncode, out + "".join(path.read_text() for path in self.jobs.glob("*.log"))

    def told(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("scheduler", registry.names("cluster"))
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("word", HOSTILE, ids=repr)
def test_hostile_names_stay_data(tmp_path: Path, scheduler: str, launcher: str, word: str) -> None:
    study = word.replace("/", "_")
    bench = Bench(tmp_path, scheduler, launcher, "exit 0", study)
    code, out = bench.run()
    assert code == 0, out
    words = bench.told("python").split("\0")
    assert str(tmp_path / study / "jobs/it-1/study.yaml") in words
    assert words[words.index("--out") + 1] == str(tmp_path / study)
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("scheduler", registry.names("cluster"))
@pytest.mark.parametrize("code", [0, 1, 2, 3, 126, 127])
def test_what_has_ended_is_not_requeued(tmp_path: Path, scheduler: str, code: int) -> None:
    bench = Bench(tmp_path, scheduler, "mpi", f"exit {code}")
    assert bench.run()[0] == code
    assert not bench.told("scontrol")
    assert not list(bench.jobs.glob("it-1/restarts*"))


@pytest.mark.parametrize("end", ["exit 99", "exit 137", "kill -KILL $$", "exit 255"])
def test_slurm_requeues_what_was_stopped_or_killed(tmp_path: Path, end: str) -> None:
    bench = Bench(tmp_path, "slurm", "mpi", end)
    _, out = bench.run(SLURM_RESTART_COUNT="2")
    assert bench.told("scontrol").split() == ["requeue", "7"]
    assert "ensemble-mtl: requeued: " in out


def test_slurm_requeues_one_element_and_not_the_array(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "slurm", "array", "exit 99")
    bench.run()
    assert bench.told("scontrol").split() == ["requeue", "6_2"]
    assert bench.told("python").split("\0")[-3:-1] == ["--part", "2/21"]


@pytest.mark.parametrize("end", ["exit 99", "exit 137", "kill -KILL $$"])
def test_lsf_runs_again_by_exit_code(tmp_path: Path, end: str) -> None:
    bench = Bench(tmp_path, "lsf", "array", end)
    assert [bench.run()[0] for _ in range(4)] == [99, 99, 99, 1]
    assert "giving up after 3 restarts" in bench.run()[1]


def test_slurm_gives_up_after_the_last_restart(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "slurm", "mpi", "exit 99")
    code, out = bench.run(SLURM_RESTART_COUNT="3")
    assert code == 1
    assert "giving up after 3 restarts: stopped with checkpoints" in out
    assert not bench.told("scontrol")


@pytest.mark.parametrize("scheduler", registry.names("cluster"))
def test_cancelled_is_not_requeued(tmp_path: Path, scheduler: str) -> None:
    bench = Bench(tmp_path, scheduler, "mpi", "exit 99")
    (bench.jobs / "it-1/cancelled").touch()
    code, out = bench.run()
    assert code == 1
    assert "cancelled, so not requeued" in out
    assert not bench.told("scontrol")


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"waited in vain for {path}"
        time.sleep(0.02)


TRAINER = (
    'trap "echo asked >$LOG/asked; exit 99" USR1; trap "" TERM; touch $LOG/up; for i in {1..600}; do sleep 0.1; done'
)


def test_slurm_passes_the_signal_on_and_requeues(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "slurm", "mpi", TRAINER)
    process = bench.start()
    try:
        wait_for(tmp_path / "up")
        process.send_signal(signal.SIGTERM)  # which every process gets from Slurm: not passed on
        time.sleep(0.3)
        assert process.poll() is None
        assert not bench.told("asked")
        process.send_signal(signal.SIGUSR1)
        out, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert bench.told("asked")
    assert "requeued: stopped with checkpoints" in out


def test_lsf_outlives_its_signals(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "lsf", "mpi", TRAINER)
    process = bench.start()
    try:
        wait_for(tmp_path / "up")
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)
        time.sleep(0.3)
        assert process.poll() is None
        child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
        os.kill(int(child), signal.SIGUSR1)
        process.communicate(timeout=30)
        assert process.returncode == 99
    finally:
        process.kill()


def test_deadline_is_the_schedulers_or_else_the_limit(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "slurm", "mpi", "exit 0")
    before = time.time()
    bench.run()
    assert before + 3599 <= float(bench.told("deadline")) <= time.time() + 3601
    bench.run(SLURM_JOB_END_TIME="12345")
    assert bench.told("deadline") == "12345\n"


def test_gather_job_is_one_process_that_is_not_requeued(tmp_path: Path) -> None:
    asked = request(tmp_path, "mpi", profile="perlmutter", time="00:10:00")
    job = gathering(asked)
    assert (job.nodes, job.tasks_per_node, job.gpus_per_node, job.time) == (1, 1, 1, "00:10:00")
    found = asked.scheduler.render(job)
    assert "requeue" not in found
    assert "exec /venv/bin/python -m ensemble_mtl report" in found
