"""Every command of README.md and docs/ does what its page says.

Each page is followed from its top in a folder of its own, with small real data and short studies. Most commands run
word for word; :data:`RULES` lists those that do not, and what is checked of them instead. A command without a rule, and
a block of an unknown kind, fail.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from helpers import mini_slurm
from helpers.documented_files import file_name, put_files, put_study
from helpers.documents import PAGES, ROOT, Block, Command, blocks, commands, name
from helpers.system import SLURM, skip_without

from ensemble_mtl.config import file as config_file

BIN = Path(sys.executable).parent
TRAINED = {"docs/curvature.md", "docs/reading-the-report.md", "docs/running.md"}
"""Pages for readers who have trained the study of docs/your-data.md."""
SLURM_PAGE = "docs/on-a-cluster.md"
NEW_STUDY = "no study yet"
"""Mark above a block whose commands begin a study anew."""


class Reader:
    """Someone who follows a page.

    Args:
        folder: where the commands are typed.
        environment: of the shell.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = {**environment, "HOME": str(folder / "home")}

    def types(self, text: str, *allowed: int) -> str:
        """Run a line of shell; returns what it prints to both outputs.

        Args:
            text: the line.
            allowed: exit codes besides 0.
        """
        done = subprocess.run(
            ["bash", "-c", text],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, cwd=self.folder, env=self.environment, timeout=300,
        )  # fmt: skip
        assert done.returncode in (0, *allowed), f"{text}\nended with {done.returncode}:\n{done.stdout}"
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def follows(self, command: Command) -> None:
        """Do what the rule for a command says, and compare what it prints with the page."""
        rules = [rule for pattern, rule in RULES if re.match(pattern, command.text)]
        assert rules, f"line {command.line}: no rule covers: {command.text}"
        _compare(command, rules[0](self, command.text))

    def reads(self, block: Block) -> None:
        """Take in one block of a page."""
        if block.mark == NEW_STUDY:
            shutil.rmtree(self.folder / "studies", ignore_errors=True)
        if block.kind in ("console", "bash"):
            for command in commands(block):
                self.follows(command)
        elif block.kind == "yaml":
            self._takes_study(block)
        elif block.kind == "python":
            done = subprocess.run(
                [sys.executable, "-c", block.text], cwd=self.folder, env=self.environment,
                capture_output=True, text=True, timeout=300,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert done.stdout
        else:
            assert block.kind == "text", f"line {block.line}: blocks of {block.kind!r} are not tested; use text"

    def _takes_study(self, block: Block) -> None:
        """A study is written to its file; a part of one must be valid in ``my.yaml``."""
        if file_name(block.text):
            put_study(self.folder, block.text)
            return
        whole = {**yaml.safe_load((self.folder / "my.yaml").read_text()), "train": {}, **yaml.safe_load(block.text)}
        path = self.folder / "part.yaml"
        path.write_text(yaml.safe_dump(whole))
        config_file.load(path)


def _compare(command: Command, printed: str) -> None:
    """The lines of the page, in their order; ``…`` stands for anything."""
    rest = printed.splitlines()
    for line in command.output:
        pattern = ".*".join(re.escape(part) for part in line.split("…"))
        place = next((k for k, text in enumerate(rest) if re.fullmatch(pattern, text)), None)
        assert place is not None, f"line {command.line}: {command.text}\nprints no line like\n{line}\nbut\n{printed}"
        rest = rest[place + 1 :]


# --- what is done with a command


def _word_for_word(reader: Reader, text: str) -> str:
    """Run it; ID stands for a member's folder, of which the first is taken."""

    def first(match: re.Match[str]) -> str:
        folder = reader.folder / match[1]
        return f"{match[1]}/{min(path.name for path in folder.iterdir())}"

    return reader.types(re.sub(r"(\S+)/ID\b", first, text))


def _table_1(reader: Reader, text: str) -> str:
    """Run it; its exit code says whether the study agrees with the paper, and a short one does not have to."""
    printed = reader.types(text, 1)
    assert "agree" in printed
    return printed


def _dry_run(reader: Reader, text: str) -> str:
    """Run it; bash must be able to read both scripts."""
    scripts = json.loads(reader.types(re.sub(r"(#.*)?$", "", text) + " --json"))
    assert len(scripts) == 2
    for script in scripts.values():
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    return reader.types(text)


def _made(reader: Reader, text: str) -> str:
    """``make`` is asked what it would do, in the repository; what ``make run`` runs in the end is run."""
    target = text.split()[1]
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    studies = [line for line in done.stdout.splitlines() if line.startswith(".venv/bin/ensemble-mtl run ")]
    assert bool(studies) == (target == "run")
    return "".join(reader.types(line) for line in studies)


def _environment(reader: Reader, text: str) -> str:
    """Makes a virtual environment, which takes a minute: Makefile must make it in the same place."""
    assert text == "python3 -m venv .venv"
    assert "$(PYTHON) -m venv .venv" in (ROOT / "Makefile").read_text()
    return ""


def _installed(reader: Reader, text: str) -> str:
    """Needs a network: the constraints and the optional parts must exist, and torch must be pinned."""
    words = shlex.split(text.partition(" install ")[2])
    assert words[words.index("-c") + 1] == "constraints.txt"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [word for word in words if word.startswith(".") or word == "torch"]
    assert len(wanted) == 1
    parts = re.findall(r"\w+", wanted[0]) if wanted != ["torch"] else []
    assert set(parts) <= set(project["optional-dependencies"])
    assert "torch==" in (ROOT / "constraints.txt").read_text()
    return ""


def _sbatch(reader: Reader, text: str) -> str:
    """Slurm says whether it would take the script; that these train a study is tested in test_slurm.py."""
    return reader.types(text.replace("sbatch ", "sbatch --test-only ", 1))


def _bsub(reader: Reader, text: str) -> str:
    """Bash must be able to read the script; that it trains a study is tested in test_lsf.py."""
    script = reader.folder / text.rpartition("< ")[2]
    return reader.types(f"bash -n {script}")


def _ray_job(reader: Reader, text: str) -> str:
    """Needs a Ray cluster, as in test_ray.py: the options of both commands must exist."""
    before, _, after = text.partition(" -- ")
    help_text = reader.types("ray job submit --help")
    assert all(word in help_text for word in before.split() if word.startswith("--"))
    return reader.types(f"{after} --help")


RULES: tuple[tuple[str, Callable[[Reader, str], str]], ...] = (
    (r"make \w+( +#.*)?$", _made),
    (r"python3 -m venv ", _environment),
    (r"(\.venv/bin/)?pip install ", _installed),
    (r"sbatch ", _sbatch),
    (r"CONFIG=\S+ bsub < ", _bsub),
    (r"ray job submit ", _ray_job),
    (r"ensemble-mtl reproduce table-1 ", _table_1),
    (r"ensemble-mtl submit .*--dry-run", _dry_run),
    (r"ensemble-mtl ", _word_for_word),
    (r"mpiexec -n \d+ python -P -m mpi4py -m ensemble_mtl ", _word_for_word),
    (r"eval \"\$\(ensemble-mtl completion ", _word_for_word),
    (r"code=99\nwhile .*\n(.*\n)*.* ensemble-mtl run ", _word_for_word),
    (r"(source \.venv/bin/activate|ls \S+|cp \S+ \S+)( +#.*)?$", _word_for_word),
)
"""What a command begins with, and what is done with it; the first that matches counts."""


# --- the pages


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    outer = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_", "RAY_"))}
    caches = {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))}
    return {**outer, **caches, "OMP_NUM_THREADS": "1", "PATH": f"{BIN}:{outer['PATH']}"}


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untrained")
    put_files(folder)
    return folder


@pytest.fixture(scope="module")
def trained(untrained: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "copy"
    shutil.copytree(untrained, folder, symlinks=True)
    Reader(folder, environment).types("ensemble-mtl run my.yaml")
    return folder


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What leads to a Slurm, for the page that has commands of it; nothing for others."""
    if request.node.callspec.params["page"] != SLURM_PAGE:
        yield {}
        return
    skip_without(*SLURM)
    with mini_slurm.mini_slurm(cpus=4) as made:
        yield {"SLURM_CONF": made["SLURM_CONF"]}


@pytest.mark.parametrize("page", [name(path) for path in PAGES])
def test_page_can_be_followed(
    page: str, request: pytest.FixtureRequest, environment: dict[str, str], cluster: dict[str, str], tmp_path: Path
) -> None:
    start: Path = request.getfixturevalue("trained" if page in TRAINED else "untrained")
    folder = tmp_path / "clone"
    shutil.copytree(start, folder, symlinks=True)
    reader = Reader(folder, environment | cluster)
    for block in blocks(ROOT / page):
        reader.reads(block)


def test_command_without_a_rule_fails(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("```console\n$ rm -rf studies\n```\n")
    (block,) = blocks(tmp_path / "page.md")
    with pytest.raises(AssertionError, match="no rule covers: rm -rf studies"):
        Reader(tmp_path, {}).reads(block)


def test_output_that_a_command_does_not_print_fails(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("```console\n$ ensemble-mtl --version\nensemble-mtl, version …\nand more\n```\n")
    (block,) = blocks(tmp_path / "page.md")
    with pytest.raises(AssertionError, match=r"prints no line like\n *and more"):
        Reader(tmp_path, {"PATH": f"{BIN}:{os.environ['PATH']}"}).reads(block)


def test_summary_has_the_keys_that_the_page_lists(trained: Path) -> None:
    (line,) = re.findall(r"^\| `summary\.json` \|(.*)\|$", (ROOT / "docs/reading-the-report.md").read_text(), re.M)
    listed = re.findall(r"`(\w+)`", line)
    assert len(listed) > 10
    assert set(listed) <= set(json.loads((trained / "studies/my-alloy/summary.json").read_text()))
