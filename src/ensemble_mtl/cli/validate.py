"""``validate``: check a configuration."""

from __future__ import annotations

import click

from ensemble_mtl.cli.common import json_option, note, print_json, study_arguments
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import label, subsets


@click.command()
@study_arguments()
@json_option
def command(study: Study, as_json: bool) -> None:
    """Check CONFIG; every mistake is named with its line."""
    names = [label(subset) for subset in subsets(study.config)]
    num_members = len(study.plan())
    path = study.config.data.raw_path()
    if path is not None and not path.exists():
        note(f"warning: data.path: {path} is not on this machine")
    if as_json:
        print_json({"valid": True, "name": study.config.name, "members": num_members, "subsets": names})
        return
    print(f"{study.config.name}: valid; {num_members} members in {len(names)} subsets ({', '.join(names)})")
