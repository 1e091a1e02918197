"""What reaches a whole process is done in one file, and by nobody who is merely imported."""

from __future__ import annotations

import ast
import fnmatch
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src/ensemble_mtl"
PLACE = "core/runtime/this_process.py"

EFFECTS = (
    "os.environ.*", "os.putenv", "os.unsetenv", "os.chdir", "os.umask", "os.nice", "os.dup2", "os.setsid", "os.setpgid",
    "os.sched_setaffinity", "signal.signal", "signal.set_wakeup_fd", "signal.setitimer", "signal.alarm",
    "signal.pthread_sigmask", "signal.siginterrupt", "ctypes.*", "atexit.register", "faulthandler.*", "gc.disable",
    "gc.freeze", "gc.set_threshold", "locale.setlocale", "logging.basicConfig", "logging.disable", "resource.setrlimit",
    "multiprocessing.set_start_method", "warnings.simplefilter", "warnings.filterwarnings", "random.seed",
    "np.random.seed", "np.seterr", "sys.path.*", "sys.meta_path.*", "sys.modules.pop", "sys.modules.update",
    "sys.modules.setdefault", "sys.setrecursionlimit", "sys.setswitchinterval", "threading.setprofile",
    "threading.stack_size", "torch.set_*", "torch.manual_seed", "torch.default_generator.*",
    "torch.use_deterministic_algorithms", "torch.backends.*", "torch.cuda.set_*", "numba.set_*", "*.mallopt", "*.prctl",
)  # fmt: skip
"""Calls that change something for every library of the process."""
HARMLESS = ("os.environ.get", "os.environ.items", "os.environ.copy", "sys.path.index", "torch.backends.*.is_available")
TARGETS = ("os.environ*", "sys.*", "tempfile.tempdir", "torch.backends.*", "numba.config.*")
"""What is not assigned to or deleted, with or without an index."""

EXCEPTIONS = {
    "__main__.py: del sys.path": "before anything is imported that might lie in the working directory",
    "data/symmetry.py: warnings.simplefilter": "inside warnings.catch_warnings",
    "launch/mpi/world.py: atexit.register": "however a rank ends, the others must not wait for it",
    "models/reference.py: torch.set_default_dtype": "for a moment, since PyG's layers take no dtype",
    "train/weighting/torchjd.py: torch.default_generator.manual_seed": "inside torch.random.fork_rng",
}
"""File and effect -> why it stands there."""

ACTING_MODULES = {
    "__main__.py": "python -m ensemble_mtl",
    "models/kernels/__main__.py": "python -m ensemble_mtl.models.kernels",
    "launch/local/nursery.py": "multiprocessing starts this process by importing the module",
}
"""Modules whose bodies do something -> how they are started; nobody else imports them."""

BUILDING = ("_Loader.add_implicit_resolver(",)
"""Calls in the body of a module that complete a class of its own."""

STARTING_MODULES = {
    "cluster/base.py": "the scheduler's commands, which are no Python of this project",
    "data/sources/parallel.py": "under children_import_safely",
    "launch/local/worker.py": "under children_import_safely",
    "launch/ray/process.py": "Ray's processes get SAFE_PATH; the user's command is the user's",
    "launch/ray/meeting.py": "names the type of a process",
}
"""Modules that may start processes -> what keeps those from importing out of the working directory."""


def modules() -> dict[str, ast.Module]:
    """Path below the package -> syntax tree."""
    return {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}


def dotted(node: ast.expr) -> str:
    """``a.b.c`` for such an expression, without indices; empty for another one."""
    if isinstance(node, ast.Subscript):
        return dotted(node.value)
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value) or '?'}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def effects(tree: ast.AST) -> Iterator[str]:
    """What the module does, or may do when it is called, to its whole process."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            if matches(name, EFFECTS) and not matches(name, HARMLESS):
                yield name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"import {name}" for name in names if name.partition(".")[0] in ("ctypes", "resource"))
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Delete):
            targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else [node.target]
            kind = "del" if isinstance(node, ast.Delete) else "assign"
            for target in targets:
                name = dotted(target)
                if matches(name, TARGETS):
                    yield f"{kind} {name}"


def acts(statement: ast.stmt) -> bool:
    """Whether a statement of a module's body does more than to define, to import or to say what it is for."""
    if isinstance(statement, ast.Expr):
        call = ast.unparse(statement.value)
        return not isinstance(statement.value, ast.Constant) and not call.startswith(BUILDING)
    if isinstance(statement, ast.AugAssign):
        return not isinstance(statement.target, ast.Name)
    if isinstance(statement, ast.If):
        return ast.unparse(statement.test) not in ("TYPE_CHECKING", "__name__ == '__main__'")
    return isinstance(statement, ast.For | ast.While | ast.With | ast.Delete | ast.Assert | ast.Raise)


def test_effects_stand_in_one_file() -> None:
    found = {f"{name}: {effect}" for name, tree in modules().items() if name != PLACE for effect in effects(tree)}
    assert found == set(EXCEPTIONS)


def test_the_one_file_has_them() -> None:
    found = set(effects(modules()[PLACE]))
    assert found >= {"os.environ.update", "signal.signal", "torch.set_num_threads", "assign sys.modules", "os.dup2"}
    assert found >= {"import ctypes", "libc.prctl", "assign tempfile.tempdir"}


@pytest.mark.parametrize(
    "code",
    ["os.environ['A'] = 'b'", "os.environ |= {}", "del os.environ['A']", "os.environ.setdefault('A', 'b')",
     "sys.modules['torch'] = None", "sys.path.insert(0, '')", "signal.signal(1, f)", "import ctypes",
     "torch.set_num_threads(1)", "from ctypes import CDLL", "tempfile.tempdir = '/'"],
)  # fmt: skip
def test_effects_are_seen(code: str) -> None:
    assert list(effects(ast.parse(code)))


def test_only_mains_act_when_they_are_imported() -> None:
    acting = {name for name, tree in modules().items() if any(map(acts, tree.body))}
    assert acting == set(ACTING_MODULES)


def test_only_these_modules_start_processes() -> None:
    starters = ("subprocess", "multiprocessing", "concurrent")
    found = set()
    for name, tree in modules().items():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(imported.partition(".")[0] in starters for imported in names):
                found.add(name)
    assert found == set(STARTING_MODULES)


def test_private_names_of_torch_stand_in_one_file() -> None:
    """They tell whether operations are watched, for which torch has no public name."""
    found = set()
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                owner = dotted(node.value)
                if owner.partition(".")[0] in ("torch", "forward_ad"):
                    found.add(name)
    assert found == {"models/kernels/compiled_loops.py"}


IMPORT_ALL = """\
import importlib, os, pkgutil, signal, sys, tempfile, threading, warnings
for name in ("jinja2", "matplotlib.pyplot", "numba", "rich.progress", "scipy.stats", "torch_geometric.nn"):
    importlib.import_module(name)  # what they do themselves is theirs
import torch

def state():
    handlers = [signal.getsignal(number) for number in sorted(signal.valid_signals())]
    return (dict(os.environ), list(sys.path), handlers, os.getcwd(), tempfile.tempdir, threading.active_count(),
            torch.get_num_threads(), torch.get_default_dtype(), warnings.filters[:], sys.modules.get("torch") is torch)

before = state()
import ensemble_mtl
for module in pkgutil.walk_packages(ensemble_mtl.__path__, "ensemble_mtl."):
    if not module.name.endswith(("__main__", ".nursery")):
        importlib.import_module(module.name)
        assert state() == before, module.name
print("imported all")
"""


def test_no_import_changes_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, timeout=300)
    assert done.stdout.endswith("imported all\n"), done.stderr
