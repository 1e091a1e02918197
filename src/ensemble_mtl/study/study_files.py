"""The configuration and the plan that a run writes beside its results, and how a member is found from its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from ensemble_mtl.config import file as config_file
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.core.storage import atomic
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member

RESOLVED = "resolved.yaml"
"""Name of the file in a study directory that holds its configuration, with every default filled in."""


def write_plan(study: Study) -> None:
    """Write ``resolved.yaml``, the configuration with every default filled in, and ``plan.json``, the members.

    A file that has this content already is left untouched.
    """
    study.root.mkdir(parents=True, exist_ok=True)
    resolved: dict[str, Any] = study.config.model_dump(mode="json")
    header = "# The configuration with every default filled in; made by ensemble-mtl.\n"
    _write(study.root / RESOLVED, header + yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True))
    plan = {"study": study.config.name, "members": [member.to_json() for member in study.plan()]}
    _write(study.root / "plan.json", json.dumps(plan, indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    """Write the file, unless it has this content already."""
    if not path.exists() or path.read_text() != text:
        atomic.write_text(path, text)


def member_at(path: Path) -> tuple[Study, Member]:
    """Return the study and the planned member that a checkpoint belongs to.

    Args:
        path: ``STUDY/members/SUBSET/ID/checkpoint.pt``, or its folder.

    Raises:
        StudyError: the path is no checkpoint, does not lie in a study directory, or the study plans no such member.
        ConfigError: the study's copy of its configuration is damaged.
    """
    resolved = path.resolve()
    folder = resolved if resolved.is_dir() else resolved.parent
    root = next(iter(folder.parents[2:3]), folder)
    if folder.parent.parent != root / "members" or not (root / RESOLVED).exists():
        raise StudyError(
            f"{path}: not a member of a study; expected STUDY/members/SUBSET/ID/checkpoint.pt with STUDY/{RESOLVED}"
        )
    study = Study(configuration(root), root)
    member = next((planned for planned in study.plan() if study.folder(planned) == folder), None)
    if member is None:
        raise StudyError(
            f"{path}: member {folder.name} is not in the plan of {root / RESOLVED}, so it was trained with another "
            "configuration (or other --set); `ensemble-mtl run` with that configuration writes the plan anew"
        )
    checkpoint = study.checkpoint(member)
    if resolved not in (folder, checkpoint):
        raise StudyError(f"{path}: not a checkpoint; expected the member's {checkpoint.name}, or its folder")
    return study, member


def configuration(root: Path, overrides: tuple[str, ...] = ()) -> StudyConfig:
    """Return the configuration that a study was last run with.

    Args:
        root: the study directory.
        overrides: texts ``key=value`` that replace values of the configuration.

    Raises:
        ConfigError: the file is missing or damaged, or an override does not fit it.
    """
    return config_file.load(root / RESOLVED, overrides)
