"""What the schedulers' commands are asked, what their answers become, and what is kept of a submission."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.submissions import ROOT, request

from ensemble_mtl.cluster import base, submissions
from ensemble_mtl.config import file as config_file
from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.study.directory import Study


class Fake:
    """Commands of a scheduler that note their words and print what they are told to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "fake"
        self.folder.mkdir()
        monkeypatch.setenv("PATH", f"{self.folder}:/usr/bin:/bin")

    def say(self, name: str, text: str, code: int = 0, stream: int = 1) -> None:
        (self.folder / f"{name}.text").write_text(text)
        path = self.folder / name
        body = f'printf "%s\\n" "$@" >>{self.folder}/{name}.words; cat >{self.folder}/{name}.input'
        path.write_text(f"#!/bin/bash\n{body}\ncat {self.folder}/{name}.text >&{stream}\nexit {code}\n")
        path.chmod(0o700)

    def heard(self, name: str) -> list[str]:
        return [word for word in (self.folder / f"{name}.words").read_text().splitlines() if word]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    return Fake(tmp_path, monkeypatch)


def test_slurm_submits_both_and_the_second_waits_for_the_end(tmp_path: Path, fake: Fake) -> None:
    fake.say("sbatch", "41;cluster\n")
    wanted = request(tmp_path / "study", "mpi", scheduler="slurm")
    submission = submissions.submit(wanted)
    assert (submission.job, submission.gather) == ("41", "41")
    jobs = tmp_path / "study/jobs"
    assert fake.heard("sbatch") == [
        "--parsable",
        str(jobs / "quickstart-mpi-1.sh"),
        "--parsable",
        "--dependency=afterany:41",
        "--kill-on-invalid-dep=yes",
        str(jobs / "quickstart-mpi-1.gather.sh"),
    ]
    assert submissions.load_all(wanted.study) == [submission]
    assert submissions.next_name(wanted.study, "mpi") == "quickstart-mpi-2"
    assert config_file.load(jobs / "quickstart-mpi-1/study.yaml").seeds == wanted.study.config.seeds


def test_two_submissions_at_once_have_names_of_their_own(tmp_path: Path, fake: Fake) -> None:
    fake.say("sbatch", "41\n")
    wanted = request(tmp_path / "study", "mpi", scheduler="slurm")
    assert [submissions.submit(wanted).name for _ in range(2)] == ["quickstart-mpi-1", "quickstart-mpi-2"]
    assert "quickstart-mpi-2/study.yaml" in (tmp_path / "study/jobs/quickstart-mpi-2.sh").read_text()


def test_snapshot_plans_the_same_members(tmp_path: Path, fake: Fake) -> None:
    fake.say("sbatch", "41\n")
    wanted = request(tmp_path / "study", "array", scheduler="slurm")
    submission = submissions.submit(wanted)
    copy = config_file.load(tmp_path / f"study/jobs/{submission.name}/study.yaml")
    assert Study(copy, wanted.study.root).plan() == wanted.study.plan()


def test_lsf_submits_the_script_on_standard_input(tmp_path: Path, fake: Fake) -> None:
    fake.say("bsub", "Job <12> is submitted to default queue <normal>.\n")
    submission = submissions.submit(request(tmp_path / "study", "array", scheduler="lsf"))
    assert (submission.job, submission.gather) == ("12", "12")
    assert fake.heard("bsub") == ["-w", "ended(12)"]
    assert (fake.folder / "bsub.input").read_text() == (
        tmp_path / f"study/jobs/{submission.name}.gather.sh"
    ).read_text()


@pytest.mark.parametrize("name", ["100%j", "back\\slash"])
def test_slurm_would_misread_such_a_folder(tmp_path: Path, fake: Fake, name: str) -> None:
    fake.say("sbatch", "41\n")
    with pytest.raises(StudyError, match="in a path as patterns; choose another --out"):
        submissions.submit(request(tmp_path / name, "mpi", scheduler="slurm"))
    assert not list((tmp_path / name / "jobs").iterdir())


@pytest.mark.parametrize(("scheduler", "command"), [("slurm", "sbatch"), ("lsf", "bsub")])
def test_refusal_is_passed_on_and_nothing_is_left(tmp_path: Path, fake: Fake, scheduler: str, command: str) -> None:
    fake.say(command, "error: invalid partition specified: moon\n", code=1, stream=2)
    wanted = request(tmp_path / "study", "mpi", scheduler=scheduler)
    with pytest.raises(StudyError, match="refused: error: invalid partition specified: moon"):
        submissions.submit(wanted)
    assert not list((tmp_path / "study/jobs").iterdir())
    assert not submissions.load_all(wanted.study)


@pytest.mark.parametrize("scheduler", registry.names("cluster"))
def test_missing_command_says_where_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    wanted = request(tmp_path / "study", "mpi", scheduler=scheduler)
    with pytest.raises(StudyError, match=r"not found; run this on a login node of the cluster, or use .*--dry-run"):
        submissions.submit(wanted)


def report_command(folder: Path) -> str:
    """The command that does what the second job would have done."""
    return f"ensemble-mtl report {folder}/study/jobs/quickstart-mpi-1/study.yaml --out {folder}/study"


def test_gather_job_without_an_answer_may_have_been_taken(
    tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.say("sbatch", "41\n")
    script = (fake.folder / "sbatch").read_text()
    (fake.folder / "sbatch").write_text(script.replace("cat >", '[[ "$*" == *afterany* ]] && exec sleep 60; cat >'))
    monkeypatch.setattr(base.ask, "__defaults__", (None, "", 0.5))
    wanted = request(tmp_path / "study", "mpi", scheduler="slurm")
    with pytest.raises(StudyError, match=r"job 41 is submitted; of the one that gathers, .*no answer in") as caught:
        submissions.submit(wanted)
    gather = tmp_path / "study/jobs/quickstart-mpi-1.gather.sh"
    assert f"look whether it has taken {gather}; if it has not, when job 41" in str(caught.value)
    assert report_command(tmp_path) in str(caught.value)
    assert gather.exists()
    assert [(submission.job, submission.gather) for submission in submissions.load_all(wanted.study)] == [("41", None)]


def test_name_is_free_again_if_a_script_cannot_be_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = request(tmp_path / "study", "mpi", scheduler="slurm")

    def fail(job: base.Job) -> str:
        raise StudyError("no script")

    monkeypatch.setattr(wanted.scheduler, "render", fail)
    with pytest.raises(StudyError, match="no script"):
        submissions.submit(wanted)
    assert submissions.next_name(wanted.study, "mpi") == "quickstart-mpi-1"
    assert not list((tmp_path / "study/jobs").iterdir())


def test_unsubmitted_gather_leaves_the_job_on_record(
    tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.say("sbatch", "41\n")
    wanted = request(tmp_path / "study", "mpi", scheduler="slurm")
    submit = wanted.scheduler.submit

    def fail(script: Path, after: str | None = None) -> str:
        if after:
            raise StudyError("sbatch refused: too many jobs")
        job: str = submit(script)
        return job

    monkeypatch.setattr(wanted.scheduler, "submit", fail)
    with pytest.raises(StudyError, match=r"job 41 is submitted, but not the one that gathers.*too many jobs") as caught:
        submissions.submit(wanted)
    assert str(caught.value).endswith(f"; when job 41 has ended, run `{report_command(tmp_path)}`")
    assert [(submission.job, submission.gather) for submission in submissions.load_all(wanted.study)] == [("41", None)]


def squeue(*rows: tuple[str, str, str, str]) -> str:
    return "".join(f"{a:<64}{b:<32}{c:<16}{d:<256}\n" for a, b, c, d in rows)


def test_slurm_states_are_those_of_each_element(fake: Fake) -> None:
    rows = [("41_1", "RUNNING", "2", "None"), ("41_2", "PENDING", "0", "JobArrayTaskLimit")]
    fake.say("squeue", squeue(*rows, ("42", "COMPLETED", "0", "None")))
    states = registry.family("cluster").load("slurm").states(["41", "42", "43"])
    assert states == [
        base.State("41_1", "RUNNING", True, "", 2),
        base.State("41_2", "PENDING", True, "JobArrayTaskLimit", 0),
        base.State("42", "COMPLETED", False, "", 0),
        base.State("43", "GONE", False, "ended; no longer in squeue", None),
    ]
    assert "--jobs=41,42,43" in fake.heard("squeue")


def test_slurm_forgot_the_only_job(fake: Fake) -> None:
    fake.say("squeue", "slurm_load_jobs error: Invalid job id specified\n", code=1, stream=2)
    assert [state.state for state in registry.family("cluster").load("slurm").states(["41"])] == ["GONE"]


def test_lsf_states_are_those_of_each_element(fake: Fake) -> None:
    fake.say("bjobs", "12|1|RUN|-|-\n12|2|PEND|-|Job dependency condition not satisfied\n13|0|EXIT|exit code 1|-\n")
    assert registry.family("cluster").load("lsf").states(["12"]) == [
        base.State("12_1", "RUN", True, "", None),
        base.State("12_2", "PEND", True, "Job dependency condition not satisfied", None),
        base.State("13", "EXIT", False, "exit code 1", None),
    ]


def submitted(root: Path) -> Study:
    wanted = request(root, "array", scheduler="slurm")
    folder = root / "jobs" / wanted.name
    folder.mkdir(parents=True)
    record = {"name": wanted.name, "scheduler": "slurm", "launcher": "array", "site": "x", "time": 1.0}
    (folder / "submitted.json").write_text(json.dumps({**record, "job": "41", "gather": "42"}))
    return wanted.study


def test_table_joins_the_elements(tmp_path: Path, fake: Fake) -> None:
    rows = [("41_1", "RUNNING", "2", "None"), ("41_2", "PENDING", "0", "Priority"), ("41_3", "RUNNING", "1", "None")]
    fake.say("squeue", squeue(*rows, ("42", "PENDING", "0", "Dependency")))
    study = submitted(tmp_path)
    first, second = submissions.table(study, submissions.load_all(study))
    assert (first["id"], first["what"], first["live"]) == ("41", "array", True)
    assert (first["state"], first["reason"], first["restarts"]) == ("2 RUNNING, 1 PENDING", "Priority", 3)
    assert (second["id"], second["what"], second["state"]) == ("42", "gather", "PENDING")


def test_table_says_why_a_scheduler_cannot_be_asked(tmp_path: Path, fake: Fake) -> None:
    fake.say("squeue", "slurm_load_jobs error: Unable to contact slurm controller\n", code=1, stream=2)
    study = submitted(tmp_path)
    rows = submissions.table(study, submissions.load_all(study))
    assert [row["state"] for row in rows] == ["unknown", "unknown"]
    assert "Unable to contact slurm controller" in rows[0]["reason"]


@pytest.mark.parametrize("arguments", [["submit", "--help"], ["submit", "--scheduler=lsf", "--dry-run"], ["cancel"]])
def test_no_heavy_package_is_loaded(tmp_path: Path, arguments: list[str]) -> None:
    heavy = ("torch", "torch_geometric", "adios2", "matplotlib", "scipy", "rich", "ray", "mpi4py")
    script = "import sys; from ensemble_mtl.cli.main import cli\ntry: cli.main(sys.argv[1:], standalone_mode=False)\n"
    script += f"finally: print(*[name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    config = [str(ROOT / "configs/quickstart.yaml"), f"--out={tmp_path / 'study'}"]
    words = [sys.executable, "-c", script, arguments[0], *([] if "--help" in arguments else config), *arguments[1:]]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stderr.strip() == ""
    assert not (tmp_path / "study").exists()


def test_no_submission_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("a subprocess"))
    study = request(tmp_path, "array", scheduler="slurm").study
    assert submissions.table(study, submissions.load_all(study)) == []


def test_damaged_record_is_named(tmp_path: Path) -> None:
    study = submitted(tmp_path)
    path = tmp_path / "jobs/quickstart-array-1/submitted.json"
    path.write_text('{"name": "x"}')
    with pytest.raises(StudyError, match="not a record of a submission"):
        submissions.load_all(study)


@pytest.mark.parametrize(
    ("scheduler", "command", "gone"),
    [
        ("slurm", "scancel", "scancel: error: Kill job error on job id 12: Invalid job id specified"),
        ("lsf", "bkill", "Job <12>: Job has already finished"),
        ("lsf", "bkill", "Job <12> is not found"),
    ],
)
def test_job_that_is_gone_keeps_no_other_from_being_cancelled(
    fake: Fake, scheduler: str, command: str, gone: str
) -> None:
    fake.say(command, gone, code=1, stream=2)
    registry.family("cluster").load(scheduler).cancel(["12", "11"])
    assert fake.heard(command) == ["12", "11"]


@pytest.mark.parametrize(("scheduler", "command"), [("slurm", "scancel"), ("lsf", "bkill")])
def test_jobs_that_cannot_be_cancelled_are_named_after_all_were_tried(fake: Fake, scheduler: str, command: str) -> None:
    fake.say(command, "Access denied", code=1, stream=2)
    with pytest.raises(StudyError, match=r"job 12: .*Access denied; job 11: .*Access denied"):
        registry.family("cluster").load(scheduler).cancel(["12", "11"])


def test_files_of_a_job_that_may_have_been_taken_are_left(
    tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.say("sbatch", "")
    (fake.folder / "sbatch").write_text("#!/bin/bash\nexec sleep 60\n")
    monkeypatch.setattr(base.ask, "__defaults__", (None, "", 0.5))
    with pytest.raises(StudyError, match=r"no answer in .* look whether it has taken"):
        submissions.submit(request(tmp_path / "study", "array", scheduler="slurm"))
    assert list((tmp_path / "study/jobs").rglob("study.yaml"))
