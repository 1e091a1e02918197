"""``data``: build the graph store, or look into the data."""

from __future__ import annotations

import click

from ensemble_mtl.cli.common import json_option, next_step, note, print_json, study_arguments
from ensemble_mtl.study.directory import Study


@click.group()
def command() -> None:
    """Build the graph store of a study, or look into its data."""


@command.command()
@study_arguments()
@json_option
def build(study: Study, as_json: bool) -> None:
    """Read the raw data of CONFIG into the graph store, splits and normalisers."""
    from ensemble_mtl.cli.progress import build_progress
    from ensemble_mtl.data.prepare import prepare
    from ensemble_mtl.study.claims import exclusive

    with exclusive(study.preparation, "changing this study"), build_progress() as progress:
        graphs = prepare(study, progress)
    skipped = graphs.provenance["skipped"]
    if as_json:
        content = {"store": str(study.data), "graphs": len(graphs), "sha256": graphs.sha256, "skipped": skipped}
        print_json(content)
        return
    print(f"{study.data}: {len(graphs)} graphs, {int(graphs.node_ptr[-1])} atoms, {len(graphs.topologies)} topologies")
    for line in skipped:
        print(f"skipped {line}")
    note(f"next: {next_step('data inspect')}, or {next_step('run')}")


@command.command()
@study_arguments()
@json_option
def inspect(study: Study, as_json: bool) -> None:
    """Audit the data of CONFIG: ranges, missing and duplicated targets, equivalent structures. Changes nothing."""
    from ensemble_mtl.cli.progress import build_progress
    from ensemble_mtl.data import audit, audit_text, build

    with build_progress() as progress:
        graphs = build.load_or_build(study.config, study.data, progress)
    report = audit.audit(graphs)
    if as_json:
        print_json(report.to_json())
    else:
        print(audit_text.describe(report))
