"""Requests of the quick study on a site, for tests of job scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ensemble_mtl.cluster import site
from ensemble_mtl.cluster.jobs import Request, training
from ensemble_mtl.config import file as config_file
from ensemble_mtl.study.directory import Study

ROOT = Path(__file__).parents[2]
HOSTILE = [
    "two words",
    "it's",
    'so "called"',
    "$(touch pwned)",
    "`touch pwned`",
    "a;touch pwned",
    "a\n#SBATCH --wrap=x\n#BSUB -q x\ntouch pwned",
    "back\\slash\\n and 'quote'\n",
    "tab\tand\x01",
    "${HOME} *",
    "größe",
]
"""Names that a shell or a scheduler may take for something else."""


def request(root: Path, launcher: str, **settings: Any) -> Request:
    """Return a request of the quickstart study on the site ``profile``, or on a plain site with ``scheduler``."""
    profile, scheduler, name = settings.pop("profile", None), settings.pop("scheduler", None), settings.pop("name", "")
    if isinstance(scheduler, dict):
        settings, scheduler = {**settings, "scheduler": scheduler}, scheduler["name"]
    path = ROOT / f"hpc/sites/{profile}.yaml" if profile else None
    settings = {"python": "/venv/bin/python", **settings}
    loaded = site.load(path, {key: (key, value) for key, value in settings.items()}, scheduler)
    study = Study(config_file.load(ROOT / "configs/quickstart.yaml"), root)
    return Request(study, loaded, launcher, name or f"quickstart-{launcher}-1")


def text(submission: Request) -> str:
    """Return the job script of a request."""
    script: str = submission.scheduler.render(training(submission))
    return script
