"""Arguments and output that the verbs share."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ensemble_mtl.study.load import load_study

Command = Callable[..., Any]

OUT_HELP = "Study directory [default: studies/NAME beside CONFIG, or CONFIG if it is one]."
LAUNCHER_HELP = "Where members run, e.g. local or mpi; the same as --set launch.launcher=NAME."
SET_HELP = "Override a key of CONFIG, e.g. train.epochs=3; repeatable."


def study_arguments(launcher: bool = False) -> Callable[[Command], Command]:
    """Give a verb the arguments that name a study, and hand it the study as the keyword ``study``.

    They are ``CONFIG [--out DIR] [--set KEY=VALUE …]``; CONFIG is a YAML file, or the directory of a
    study that was run.

    Args:
        launcher: whether there is ``--launcher NAME`` too.
    """

    def decorate(function: Command) -> Command:
        def with_study(config: Path, out: Path | None, overrides: tuple[str, ...], **rest: Any) -> Any:
            if launcher and (name := rest.pop("launcher")):
                overrides = (f"launch.launcher={name}", *overrides)
            return function(study=load_study(config, out=out, overrides=overrides), **rest)

        with_study.__doc__, with_study.__name__ = function.__doc__, function.__name__
        with_study.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        options = [
            click.argument("config", type=click.Path(path_type=Path)),
            click.option("--out", type=click.Path(path_type=Path), help=OUT_HELP),
            click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help=SET_HELP),
        ]
        if launcher:
            options.append(click.option("--launcher", metavar="NAME", help=LAUNCHER_HELP))
        for option in reversed(options):
            with_study = option(with_study)
        return with_study

    return decorate


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def print_json(value: Any) -> None:
    """Print JSON on standard output, the same bytes for the same value."""
    print(json.dumps(value, indent=1, allow_nan=False))


def note(text: str) -> None:
    """Print a line for a person, not for scripts, on standard error."""
    print(text, file=sys.stderr, flush=True)


def next_step(verb: str) -> str:
    """Return the command that does ``verb`` with the CONFIG, ``--out`` and ``--set`` of the present command."""
    arguments = click.get_current_context().params
    words = ["ensemble-mtl", *verb.split(), str(arguments["config"])]
    if arguments["out"]:
        words += ["--out", str(arguments["out"])]
    for override in arguments["overrides"]:
        words += ["--set", override]
    return f"`{shlex.join(words)}`"


def duration(seconds: float) -> str:
    """Return the time as ``2 h 05 min``, ``3 min 20 s`` or ``12 s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
