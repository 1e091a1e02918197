"""``probe``: the curvature of a trained member, with settings of one's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from ensemble_mtl.cli.common import Command, json_option, note, print_json
from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import StudyError

if TYPE_CHECKING:
    from ensemble_mtl.study.directory import Study
    from ensemble_mtl.worker.reprobe import Reprobed

AT_HELP = "Weights of the last epoch, or those of the least validation loss."
TASK_HELP = "Only this task of the member; repeatable."
SET_HELP = "Set a key of the probes, e.g. probes.leading=10 (or train.device); repeatable."
OUT_HELP = "Write all of it as JSON, with nodes and weights of the spectra."
FIGURE_HELP = "Draw the spectral densities of all tasks into FILE.svg or FILE.png."
SETTINGS = ("trace", "trace_samples", "density", "lanczos_steps", "lanczos_starts", "graphs")
"""Keys of ``probes`` that have a flag of their own."""


def _names(key: str, context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in registry.names(f"curvature.{key}") if name.startswith(begun)]


def _settings(function: Command) -> Command:
    """``--trace NAME``, ``--graphs N`` and so on, each the same as ``--set probes.KEY=VALUE``."""
    for key in reversed(SETTINGS):
        named = key in ("trace", "density")
        flag, text = f"--{key.replace('_', '-')}", f"The same as --set probes.{key}={'NAME' if named else 'N'}."
        if named:
            function = click.option(flag, metavar="NAME", help=text, shell_complete=partial(_names, key))(function)
        else:
            least = 2 if key == "lanczos_steps" else 1
            function = click.option(flag, metavar="N", type=click.IntRange(min=least), help=text)(function)
    return function


def _checked_figure(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix not in (".svg", ".png"):
        raise click.BadParameter(f"got {value.name!r}, expected a name that ends in .svg or .png")
    return value


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path))
@click.option("--at", "weights", type=click.Choice(["last", "best"]), default="last", show_default=True, help=AT_HELP)
@click.option("--task", "tasks", metavar="NAME", multiple=True, help=TASK_HELP)
@_settings
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help=SET_HELP)
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help=OUT_HELP)
@click.option(
    "--figure", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), callback=_checked_figure,
    help=FIGURE_HELP,
)  # fmt: skip
@json_option
def command(
    checkpoint: Path,
    weights: Any,
    tasks: tuple[str, ...],
    overrides: tuple[str, ...],
    out: Path | None,
    figure: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure the curvature of a trained member, without changing its study.

    CHECKPOINT is the member's checkpoint.pt, or its folder, STUDY/members/SUBSET/ID. Everything else is found in
    STUDY. Settings that are not given are the study's own; with these, the numbers are those of its probe `end`.
    """
    from ensemble_mtl.study.study_files import configuration, member_at

    study, member = member_at(checkpoint)
    for path in (out, figure):
        _keep_out(study, path)
    given = tuple(f"probes.{key}={value}" for key, value in settings.items() if value is not None)
    overrides = _allowed(overrides)
    if study.config.probes is None:
        given = ("probes={}", *given)
    config = configuration(study.root, (*given, *overrides))

    import torch

    from ensemble_mtl.cli.progress import step_progress
    from ensemble_mtl.worker.reprobe import check_tasks, reprobe

    check_tasks(member, tasks)
    torch.set_num_threads(1)  # as a worker runs; more would round otherwise
    with step_progress("probing", len(set(tasks) or member.subset) + 1) as tell:
        found = reprobe(study, member, config, weights, tasks, tell)
    _show(found, as_json)
    _write(found, out, figure)


def _allowed(overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what would make another member, or what has no meaning here."""
    for text in overrides:
        key = text.partition("=")[0]
        if key == "probes.epochs":
            raise click.UsageError(f"--set {text}: the checkpoint says which epoch; choose by --at last or best")
        if not key.startswith("probes.") and key != "train.device":
            raise click.UsageError(f"--set {text}: expected a key of probes, for example probes.graphs=32")
    return overrides


def _keep_out(study: Study, path: Path | None) -> None:
    if path is not None and path.resolve().is_relative_to(study.root):
        raise StudyError(f"{path}: lies in the study, which is not changed by this; write it elsewhere")


def _show(found: Reprobed, as_json: bool) -> None:
    if as_json:
        print_json(found.to_json())
        return
    from ensemble_mtl.report import probe_tables, table

    table.show(probe_tables.tables(found.probes, found.member.subset))


def _write(found: Reprobed, out: Path | None, figure: Path | None) -> None:
    from ensemble_mtl.core.storage import atomic

    if out is not None:
        atomic.write_json(out, found.whole())
        note(f"wrote {out}")
    if figure is not None:
        _draw(found, figure)
        note(f"wrote {figure}")


def _draw(found: Reprobed, path: Path) -> None:
    from ensemble_mtl.report.figures import figure_file, look, overlaid_densities

    order: Callable[[str], int] = list(found.study.config.tasks).index
    drawn = overlaid_densities.draw(
        {probe.task: (probe.nodes, probe.weights) for probe in found.probes},
        {probe.task: look.color(order(probe.task)) for probe in found.probes},
        found.probes[0].num_parameters,
        synthetic=found.synthetic,
    )
    if drawn is None:
        raise StudyError(f"{path}: not drawn, since no eigenvalue of this member is finite")
    figure_file.write(drawn, path)
