"""``probe``: the curvature of a trained member, with any settings."""

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
from ensemble_mtl.core.runtime.this_process import prepare_process

if TYPE_CHECKING:
    from ensemble_mtl.study.directory import Study
    from ensemble_mtl.worker.reprobe import MeasuredCurvature

AT_HELP = "Weights of the last epoch, or those of the smallest validation loss."
TASK_HELP = "Only this task of the member; repeatable."
SET_HELP = "Set a key of the probes, e.g. probes.leading=10 (or train.device); repeatable."
OUT_HELP = "Write everything as JSON, with nodes and weights of the spectra."
FIGURE_HELP = "Draw the spectral densities of all tasks into FILE.svg or FILE.png."
SETTINGS = ("trace", "trace_samples", "density", "lanczos_steps", "lanczos_starts", "graphs")
"""Keys of ``probes`` that have a flag each."""


def _names(key: str, context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of an estimator of which the letters ``begun`` are typed."""
    return [CompletionItem(name) for name in registry.names(f"curvature.{key}") if name.startswith(begun)]


def _settings(function: Command) -> Command:
    """Give a verb ``--trace NAME``, ``--graphs N`` and so on, each the same as ``--set probes.KEY=VALUE``."""
    for key in reversed(SETTINGS):
        named = key in ("trace", "density")
        flag, text = f"--{key.replace('_', '-')}", f"The same as --set probes.{key}={'NAME' if named else 'N'}."
        if named:
            function = click.option(flag, metavar="NAME", help=text, shell_complete=partial(_names, key))(function)
        else:
            smallest = 2 if key == "lanczos_steps" else 1
            function = click.option(flag, metavar="N", type=click.IntRange(min=smallest), help=text)(function)
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

    CHECKPOINT is the member's checkpoint.pt, or its folder, STUDY/members/SUBSET/ID. Everything else is read from
    STUDY. Settings that you leave out are the study's; with these, the numbers are those of its probe `end`.
    """
    from ensemble_mtl.study.study_files import member_at

    study, member = member_at(checkpoint)
    for path in (out, figure):
        _refuse_inside(study, path)
    flags = tuple(f"probes.{key}={value}" for key, value in settings.items() if value is not None)
    prepare_process()

    from ensemble_mtl.cli.progress import step_progress
    from ensemble_mtl.worker.reprobe import measure_curvature

    with step_progress("probing", len(set(tasks) or member.subset) + 1) as begin:
        measured = measure_curvature(
            study, member, overrides=(*flags, *overrides), weights=weights, tasks=tasks, say=begin
        )
    _show(measured, as_json)
    _write(measured, out, figure)


def _refuse_inside(study: Study, path: Path | None) -> None:
    """Raise StudyError if a file to be written would lie in the study."""
    if path is not None and path.resolve().is_relative_to(study.root):
        raise StudyError(f"{path}: lies in the study, which is not changed by this; write it elsewhere")


def _show(measured: MeasuredCurvature, as_json: bool) -> None:
    if as_json:
        print_json(measured.to_json())
        return
    from ensemble_mtl.report import probe_tables, table

    table.show(probe_tables.tables(measured.probes, measured.member.subset))


def _write(measured: MeasuredCurvature, out: Path | None, figure: Path | None) -> None:
    from ensemble_mtl.core.storage import atomic

    if out is not None:
        atomic.write_json(out, measured.to_json_with_spectra())
        note(f"wrote {out}")
    if figure is not None:
        _draw(measured, figure)
        note(f"wrote {figure}")


def _draw(measured: MeasuredCurvature, path: Path) -> None:
    from ensemble_mtl.report.figures import figure_file, look, overlaid_densities

    order: Callable[[str], int] = list(measured.study.config.tasks).index
    drawing = overlaid_densities.draw(
        {probe.task: (probe.nodes, probe.weights) for probe in measured.probes},
        {probe.task: look.color(order(probe.task)) for probe in measured.probes},
        measured.probes[0].num_parameters,
        synthetic=measured.synthetic,
    )
    if drawing is None:
        raise StudyError(f"{path}: not drawing, since no eigenvalue of this member is finite")
    figure_file.write(drawing, path)
