"""``completion``: the shell's own completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script for SHELL; e.g. `eval "$(ensemble-mtl completion bash)"` in ~/.bashrc."""
    from ensemble_mtl.cli.main import cli

    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"no completion for {shell}")
    print(completion(cli, {}, "ensemble-mtl", "_ENSEMBLE_MTL_COMPLETE").source())
