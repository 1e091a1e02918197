"""Reading LSMS files, and comparing what was read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ensemble_mtl.data.graph import SourceData
from ensemble_mtl.data.sources import lsms
from helpers.alloys import silent


def read(path: Path, **options: object) -> SourceData:
    return lsms.read(lsms.Options.model_validate({"path": path, **options}), raw=path, progress=silent)


def equal(first: SourceData, second: SourceData) -> bool:
    pairs = list(zip(first.graphs, second.graphs, strict=True))
    same = [a.name == b.name and np.array_equal(a.positions, b.positions) for a, b in pairs]
    targets = [np.array_equal(a.targets[info.name], b.targets[info.name]) for a, b in pairs for info in lsms.TARGETS]
    return all(same) and all(targets) and first.notes == second.notes
