"""``reproduce``: published examples, compared with their published answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ensemble_mtl.cli.common import json_option, note, print_json
from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import EXIT_COMPLETE, EXIT_MEMBER_FAILED
from ensemble_mtl.core.runtime.this_process import prepare_process

OUT_HELP = "Where the figure and the numbers go [default: the present folder]."
PNG_HELP = "Write the figure as PNG too."


def _typed(name: str) -> str:
    """Return the name of a module or option as it is typed on the command line."""
    return name.replace("_", "-")


class _Examples(click.Group):
    """One command for each file in ``reproduce/``."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [_typed(name) for name in registry.names("reproduce")]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return _command(name.replace("-", "_")) if name in self.list_commands(context) else None

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        if args[0] not in self.list_commands(context):
            raise click.UsageError(registry.unknown(args[0], self.list_commands(context)), context)
        return super().resolve_command(context, args)


@click.group(cls=_Examples)
def command() -> None:
    """Compute a published example with this package, and compare it with the published numbers.

    Exit codes: 0 it agrees, 1 it does not, 2 wrong options.
    """


def _command(name: str) -> click.Command:
    """Make the command of one example: an option for each field of its ``Options``."""
    from ensemble_mtl.reproduce.base import FAMILY

    example = FAMILY.load(name)
    fields = {key: field for key, field in example.Options.model_fields.items() if key != "name"}

    def call(out: Path, png: bool, as_json: bool, **values: Any) -> None:
        try:
            options = example.Options(name=name, **values)
        except ValidationError as error:
            faults = [f"--{_typed(str(e['loc'][0]))}: {e['msg']}, got {e['input']}" for e in error.errors()]
            raise click.UsageError("; ".join(faults)) from None
        prepare_process()
        reproduction = example.compute(options)
        _write(reproduction, out, _typed(name), (".svg", ".png") if png else (".svg",))
        if as_json:
            print_json(reproduction.record.model_dump(mode="json"))
        else:
            from ensemble_mtl.report import table

            table.show(reproduction.tables)
            print(f"{'agrees' if reproduction.agrees else 'does not agree'}: {reproduction.verdict}")
        sys.exit(EXIT_COMPLETE if reproduction.agrees else EXIT_MEMBER_FAILED)

    call.__doc__ = example.SUMMARY
    params: list[click.Parameter] = [
        click.Option([f"--{_typed(key)}"], help=field.description, **_kind(field)) for key, field in fields.items()
    ]  # fmt: skip
    verb = click.Command(_typed(name), params=params, callback=call, help=example.SUMMARY)
    folder = click.Path(path_type=Path, file_okay=False)
    verb.params += [
        click.Option(["--out"], metavar="DIR", type=folder, default=Path(), show_default=False, help=OUT_HELP),
        click.Option(["--png"], is_flag=True, help=PNG_HELP),
    ]
    return json_option(verb)


def _kind(field: FieldInfo) -> dict[str, Any]:
    """Return how click treats an option: a required folder, or a number with a default."""
    if field.annotation is Path:
        return {"type": click.Path(path_type=Path), "required": True, "metavar": "DIR"}
    return {"type": field.annotation, "default": field.default, "show_default": True, "metavar": "N"}


def _write(reproduction: Any, folder: Path, name: str, suffixes: tuple[str, ...]) -> None:
    from ensemble_mtl.core.storage import atomic
    from ensemble_mtl.report.figures import figure_file

    paths = [folder / f"{name}{suffix}" for suffix in suffixes]
    for path in paths:
        figure_file.write(reproduction.figure, path)
    atomic.write_json(folder / f"{name}.json", reproduction.record.model_dump(mode="json"))
    note(f"wrote {', '.join(map(str, paths))} and {folder / f'{name}.json'}")
