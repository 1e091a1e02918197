"""Loops that numba compiles for this machine's CPU, as functions that autograd knows.

Each stands beside plain operations that give the same numbers up to rounding. Those take over on other devices
and types, where operations are watched (:mod:`ensemble_mtl.curvature.forms.tape`), and for second derivatives.
"""

from ensemble_mtl.models.kernels import norm, pna
from ensemble_mtl.models.kernels.compiled_loops import TYPES, usable
from ensemble_mtl.models.kernels.norm import batch_norm_relu
from ensemble_mtl.models.kernels.pna import aggregate

__all__ = ["aggregate", "batch_norm_relu", "load", "usable"]


def load() -> None:
    """Have every loop ready, as the first training step would; processes may be forked after it."""
    for dtype in TYPES:
        pna.load(dtype)
        norm.load(dtype)
