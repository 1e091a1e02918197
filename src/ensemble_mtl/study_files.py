"""What a run writes beside its results, so that the study explains itself."""

from __future__ import annotations

import json
from typing import Any

import yaml

from ensemble_mtl import atomic
from ensemble_mtl.study import Study


def write_plan(study: Study) -> None:
    """Write ``resolved.yaml`` (every default filled in) and ``plan.json``.

    Files that are already so are left untouched.
    """
    study.root.mkdir(parents=True, exist_ok=True)
    resolved: dict[str, Any] = study.config.model_dump(mode="json")
    header = "# The configuration with every default filled in; made by ensemble-mtl.\n"
    _write(study.root / "resolved.yaml", header + yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True))
    plan = {"study": study.config.name, "members": [member.to_json() for member in study.members()]}
    _write(study.root / "plan.json", json.dumps(plan, indent=1) + "\n")


def _write(path: Any, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        atomic.write_text(path, text)
