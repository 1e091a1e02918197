"""Every process imports nothing out of the user's folders, and computes as every other one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.batch import BIN
from helpers.namespace import Namespace, missing
from helpers.studies import ENVIRONMENT, TINY, results
from helpers.traps import module_names, names_loaded_before_main, set_traps

from ensemble_mtl.cli.main import VERBS

RECORDER = """\
import importlib.abc, importlib.machinery, json, os, sys

NAMES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_CBWR")

def record(**values):
    values |= {{name: os.environ.get(name) for name in NAMES}}
    with open({records!r}, "a") as file:
        file.write(json.dumps(values) + "\\n")

def load_torch(load, module):
    record(what="loads torch", threads=1, pid=os.getpid())
    load(module)

def load_shard(load, module):
    load(module)
    train_shard = module.train_shard
    def recorded(*arguments):
        import torch
        record(what="trains", threads=torch.get_num_threads(), pid=os.getpid())
        return train_shard(*arguments)
    module.train_shard = recorded

LOADERS = {{"torch": load_torch, "ensemble_mtl.worker.shard": load_shard}}

class Finder:
    @staticmethod
    def find_spec(name, path, target=None):
        if name not in LOADERS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        load = spec.loader.exec_module
        spec.loader.exec_module = lambda module: LOADERS[name](load, module)
        return spec

sys.meta_path.insert(0, Finder)
"""
"""A module that Python imports as it starts: notes how a process is set up when it loads torch and when it trains."""

Record = dict[str, object]


class Folder:
    """A folder of a user's, from which everything is started: data, configuration, study and all the traps.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.root = path / "user", path / "user/studies/tiny"
        self._trace, self._records = path / "imported", path / "records"
        for folder in (self.path, self.root, self.root / "logs"):
            set_traps(folder, self._trace)
        (self.path / "tiny.yaml").write_text(TINY)
        (path / "recorder").mkdir()
        (path / "recorder/sitecustomize.py").write_text(RECORDER.format(records=str(self._records)))
        told = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_CBWR", "PYTHONSAFEPATH")
        self.environment = {name: value for name, value in ENVIRONMENT.items() if name not in told}
        self.environment["PYTHONPATH"] = str(path / "recorder")

    def run(self, *words: object, code: int = 0, **variables: str) -> str:
        """Run a command from here; what it prints."""
        done = subprocess.run(
            list(map(str, words)), cwd=self.path, env={**self.environment, **variables},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == code, done.stdout
        assert self.imported() == []
        return done.stdout

    def imported(self) -> list[str]:
        """Names of the traps that somebody went into."""
        return self._trace.read_text().split() if self._trace.exists() else []

    def records(self) -> list[Record]:
        """What the recorder has noted."""
        return [json.loads(line) for line in self._records.read_text().splitlines()]

    def assert_trained_alike(self, num_processes: int) -> None:
        """Six members were trained by so many processes, which were set up before they loaded torch."""
        assert len(results(self.root)) == 6
        assert self.imported() == []
        records = self.records()
        assert {record["what"] for record in records} == {"loads torch", "trains"}
        assert len({record["pid"] for record in records if record["what"] == "trains"}) == num_processes
        for record in records:
            told = [record[name] for name in ("threads", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_CBWR")]
            assert told == [1, "1", "1", "AUTO"], record


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_traps_work(folder: Folder) -> None:
    done = subprocess.run([sys.executable, "-c", "import random"], cwd=folder.path, capture_output=True)
    assert done.returncode == 1
    assert folder.imported() == ["random"]
    assert {"coverage", "random", "types", "torch", "numpy", "ensemble_mtl", "ray", "mpi4py"} <= module_names()


def test_local_workers(folder: Folder) -> None:
    folder.run(BIN / "ensemble-mtl", "run", "tiny.yaml")
    assert (folder.root / "report.html").exists()
    folder.assert_trained_alike(2)


def test_mpi_ranks(folder: Folder) -> None:
    ranks = [BIN / "mpiexec", "-n", 2, sys.executable, "-P", "-m", "mpi4py", "-m", "ensemble_mtl"]
    folder.run(*ranks, "run", "tiny.yaml", "--launcher", "mpi")
    folder.assert_trained_alike(2)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    if reason := missing():
        pytest.skip(reason)
    with Namespace({"HOME": str(tmp_path_factory.mktemp("home"))}) as made:
        yield made


def in_space(space: Namespace, folder: Folder, *words: object) -> None:
    """Run a command from the folder, in the namespace."""
    done = space.call("env", f"--chdir={folder.path}", *words, **{**folder.environment, **space.environment})
    assert done.code == 0, done.said()


def test_workers_of_a_private_ray_cluster(space: Namespace, folder: Folder) -> None:
    in_space(space, folder, BIN / "ensemble-mtl", "run", "tiny.yaml", "--launcher", "ray")
    assert len({record["pid"] for record in folder.records()}) > 1
    folder.assert_trained_alike(len({record["pid"] for record in folder.records() if record["what"] == "trains"}))


def test_workers_of_ray_nodes(space: Namespace, folder: Folder) -> None:
    nodes = [sys.executable, "-P", "-m", "ensemble_mtl.launch.ray.nodes", "meeting", "--nodes", 1, "--cpus", 1, "--"]
    in_space(space, folder, "env", "PMI_RANK=0", *nodes, BIN / "ensemble-mtl", "run", "tiny.yaml", "--launcher", "ray")
    folder.assert_trained_alike(1)


def test_every_verb(folder: Folder) -> None:
    verbs = [
        ["validate", "tiny.yaml"], ["plan", "tiny.yaml"], ["plan", "tiny.yaml", "--measure"],
        ["data", "build", "tiny.yaml"], ["status", "tiny.yaml"], ["run", "tiny.yaml", "--no-report"],
        ["gather", "tiny.yaml"], ["report", "tiny.yaml"], ["submit", "tiny.yaml", "--scheduler", "slurm", "--dry-run"],
        ["cancel", "tiny.yaml"], ["completion", "bash"], ["schema", "config"],
        ["reproduce", "appendix-e", "--size", 20, "--samples", 10, "--steps", 5, "--out", "figures"],
    ]  # fmt: skip
    verb: list[object]
    for verb in verbs:
        folder.run(BIN / "ensemble-mtl", *verb)
    checkpoint = next(folder.root.glob("members/*/*/checkpoint.pt"))
    folder.run(BIN / "ensemble-mtl", "probe", checkpoint)
    called = {verb[0] for verb in verbs} | {"probe"}
    assert called == set(VERBS)
    folder.assert_trained_alike(2)


def test_module_without_a_safe_path_imports_the_rest_safely(folder: Folder) -> None:
    """``python -m ensemble_mtl``: nothing can be done about what Python itself imports before."""
    for name in names_loaded_before_main():
        (folder.path / f"{name}.py").unlink(missing_ok=True)
    shutil.rmtree(folder.path / "ensemble_mtl", ignore_errors=True)
    (folder.path / "ensemble_mtl.py").unlink()
    assert (folder.path / "random.py").exists()
    assert (folder.path / "coverage.py").exists()
    folder.run(sys.executable, "-m", "ensemble_mtl", "run", "tiny.yaml")
    folder.assert_trained_alike(2)


POOL = """\
from ensemble_mtl.data.sources.parallel import in_order
if __name__ == "__main__":
    assert list(in_order(range(-8, 0), abs, "numbers", 2, (2, 2))) == list(range(8, 0, -1))
"""


def test_processes_that_read_data(folder: Folder) -> None:
    folder.run(sys.executable, "-P", "-c", POOL)
