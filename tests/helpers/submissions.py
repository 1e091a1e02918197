"""Requests of the quick study on a site, for tests of job scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ensemble_mtl.cluster import site
from ensemble_mtl.cluster.jobs import Request, training
from ensemble_mtl.config import file as config_file
from ensemble_mtl.study.directory import Study

ROOT = Path(__file__).parents[2]


def request(root: Path, launcher: str, **settings: Any) -> Request:
    """A request of the quick study on the site of ``profile``, or on a plain one of ``scheduler``."""
    profile, scheduler, name = settings.pop("profile", None), settings.pop("scheduler", None), settings.pop("name", "")
    if isinstance(scheduler, dict):
        settings, scheduler = {**settings, "scheduler": scheduler}, scheduler["name"]
    path = ROOT / f"hpc/sites/{profile}.yaml" if profile else None
    given = {"python": "/venv/bin/python", **settings}
    found = site.load(path, {key: (key, value) for key, value in given.items()}, scheduler)
    study = Study(config_file.load(ROOT / "configs/quickstart.yaml"), root)
    return Request(study, found, launcher, name or f"quickstart-{launcher}-1")


def text(asked: Request) -> str:
    rendered: str = asked.scheduler.render(training(asked))
    return rendered
