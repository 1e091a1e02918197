"""``reproduce``: published examples with a known answer."""

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

FAMILY = "reproduce"
OUT_HELP = "Where the figure and the numbers go [default: the present folder]."
PNG_HELP = "Write the figure as PNG too."


def _called(name: str) -> str:
    return name.replace("_", "-")


class _Examples(click.Group):
    """One command for each file in ``reproduce/``."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [_called(name) for name in registry.names(FAMILY)]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return _command(name.replace("-", "_")) if name in self.list_commands(context) else None

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        if args[0] not in self.list_commands(context):
            raise click.UsageError(registry.unknown(args[0], self.list_commands(context)), context)
        return super().resolve_command(context, args)


@click.group(cls=_Examples)
def command() -> None:
    """Compute a published example with this project's own code, and compare it with what is known.

    Exit codes: 0 it agrees, 1 it does not, 2 wrong options.
    """


def _command(name: str) -> click.Command:
    module = registry.load(FAMILY, name)
    fields = {key: field for key, field in module.Options.model_fields.items() if key != "name"}

    def call(out: Path, png: bool, as_json: bool, **given: Any) -> None:
        try:
            options = module.Options(**given)
        except ValidationError as error:
            faults = [f"--{_called(str(e['loc'][0]))}: {e['msg']}, got {e['input']}" for e in error.errors()]
            raise click.UsageError("; ".join(faults)) from None
        found = module.compute(options)
        _write(found, out, _called(name), (".svg", ".png") if png else (".svg",))
        if as_json:
            print_json(found.record)
        else:
            from ensemble_mtl.report import table

            table.show(found.tables)
            print(f"{'agrees' if found.agrees else 'does not agree'}: {found.verdict}")
        sys.exit(EXIT_COMPLETE if found.agrees else EXIT_MEMBER_FAILED)

    call.__doc__ = module.SUMMARY
    params: list[click.Parameter] = [
        click.Option([f"--{_called(key)}"], help=field.description, **_kind(field)) for key, field in fields.items()
    ]  # fmt: skip
    made = click.Command(_called(name), params=params, callback=call, help=module.SUMMARY)
    folder = click.Path(path_type=Path, file_okay=False)
    made.params += [
        click.Option(["--out"], metavar="DIR", type=folder, default=Path(), show_default=False, help=OUT_HELP),
        click.Option(["--png"], is_flag=True, help=PNG_HELP),
    ]
    return json_option(made)


def _kind(field: FieldInfo) -> dict[str, Any]:
    """Whether an option is a folder that must be given, or a number with a default."""
    if field.annotation is Path:
        return {"type": click.Path(path_type=Path), "required": True, "metavar": "DIR"}
    return {"type": field.annotation, "default": field.default, "show_default": True, "metavar": "N"}


def _write(found: Any, folder: Path, name: str, suffixes: tuple[str, ...]) -> None:
    from ensemble_mtl.core.storage import atomic
    from ensemble_mtl.report.figures import figure_file

    paths = [folder / f"{name}{suffix}" for suffix in suffixes]
    for path in paths:
        figure_file.write(found.figure, path)
    atomic.write_json(folder / f"{name}.json", found.record)
    note(f"wrote {', '.join(map(str, paths))} and {folder / f'{name}.json'}")
