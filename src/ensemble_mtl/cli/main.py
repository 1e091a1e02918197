"""``ensemble-mtl``: verbs are loaded when they are called, so that ``--help`` is immediate."""

from __future__ import annotations

import errno
import importlib
import sys
from typing import Any

import click

from ensemble_mtl.core.errors import EXIT_BAD_INPUT, EXIT_CHECKPOINTED, EnsembleMTLError
from ensemble_mtl.core.version import __version__

VERBS = {
    "validate": "Check a configuration and say what it plans.",
    "data": "Build the graph store, or look into the data.",
    "plan": "List the members, their sizes and, once measured, their time.",
    "run": "Train what is missing, then gather and report.",
    "submit": "Train what is missing as a job of Slurm or LSF.",
    "status": "Show what is done, running, failed and missing, and the time left.",
    "cancel": "End the jobs that were submitted.",
    "gather": "Collect the results into summary.json and summary.csv.",
    "report": "Draw figures and write report.html.",
    "probe": "Measure the curvature of a trained member anew, with any settings.",
    "reproduce": "Compute a published example, and compare it with the published numbers.",
    "schema": "Print the JSON Schema of a file that studies leave.",
    "completion": "Print the shell completion script.",
}
"""Every verb and its one-line help; the verb's code is ``cli/<verb>.py``, object ``command``."""


_ENVIRONMENT_ERRNOS = """
ENOSPC EDQUOT EFBIG EACCES EPERM EROFS EIO ESTALE ENOTDIR EEXIST EISDIR ENAMETOOLONG ENOENT ENOTEMPTY EMFILE ENOMEM
"""
ENVIRONMENT_ENVIRONMENT_ERRNOS = {getattr(errno, name) for name in _ENVIRONMENT_ERRNOS.split()}
"""Faults of disks and paths, which are no faults of this program: they are reported in one line."""


class _Verbs(click.Group):
    """A group of commands that lists its verbs without importing them."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"ensemble_mtl.cli.{name}").command
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(context, args)
        except click.UsageError as error:
            from ensemble_mtl.config.registry import unknown

            raise click.UsageError(f"no such command: {unknown(args[0], list(VERBS))}", context) from error


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ensemble-mtl")
def cli() -> None:
    """Should these properties be learned together or alone, and why?

    Plans, trains and compares ensembles of single-task and multi-task graph networks.
    Exit codes: 0 complete, 1 a member failed, 2 bad configuration or data, 3 incomplete,
    99 stopped and checkpointed (run the same command again).
    """


def _before_error(code: int) -> None:
    """In an MPI job, let one process report an error that all of them meet."""
    from ensemble_mtl.launch.mpi.world import let_the_lead_speak  # loads more than --help may

    let_the_lead_speak(code)


def main() -> None:
    """Run the command line: a user's mistake is one line, and only a fault of this program has a traceback."""
    try:
        cli.main(prog_name="ensemble-mtl", standalone_mode=False)
    except click.ClickException as error:
        _before_error(error.exit_code)
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as stop:
        if isinstance(stop.__cause__, EOFError):
            raise stop.__cause__ from None  # click takes it for the end of input at a prompt
        print("stopped; the same command continues", file=sys.stderr)
        sys.exit(EXIT_CHECKPOINTED)
    except EnsembleMTLError as error:
        _before_error(error.exit_code)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # who read the output, such as `| head`, has ended
        sys.exit(0)
    except OSError as error:
        if error.errno not in ENVIRONMENT_ENVIRONMENT_ERRNOS:
            raise
        _before_error(EXIT_BAD_INPUT)
        print(
            f"error: {error}; what was finished before is intact; mend this, and the same command continues",
            file=sys.stderr,
        )
        sys.exit(EXIT_BAD_INPUT)
