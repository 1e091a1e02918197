"""From a path to a study."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from ensemble_mtl.config import file as config_file
from ensemble_mtl.core.errors import ConfigError
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.study_files import RESOLVED, configuration


def load_study(
    path: str | PathLike[str], *, out: str | PathLike[str] | None = None, overrides: Sequence[str] = ()
) -> Study:
    """Return the study that a file or a directory describes; nothing is written.

    Args:
        path: a configuration (a YAML file), or the directory of a study that was run, which holds ``resolved.yaml``.
        out: the study directory. By default it is the directory ``path``; for a file the key ``out`` in it, or else
            ``studies/NAME`` beside it.
        overrides: texts such as ``"train.epochs=3"``, which set a key of the configuration, as ``--set`` does.

    Raises:
        ConfigError: there is no such file, or it does not describe a study. The message names each mistake with its
            line, or the override that makes it.
    """
    place, directory = Path(path), None if out is None else Path(out)
    if not place.is_dir():
        return Study.at(config_file.load(place, tuple(overrides)), place, directory)
    if not (place / RESOLVED).exists():
        raise ConfigError(
            f"{place}: expected a study's YAML file, or a study directory, which has {RESOLVED} in it once the study "
            "was run; give the YAML file"
        )
    return Study(configuration(place, tuple(overrides)), (directory or place).resolve())
