"""The weights of the configuration, ``tasks.<name>.weight``: 1 unless it says otherwise."""

from __future__ import annotations

from typing import Literal

from ensemble_mtl.config import registry


class Options(registry.Options):
    """Fixed weights have no options; they stand with the tasks, ``tasks.<name>.weight``."""

    name: Literal["fixed"] = "fixed"
