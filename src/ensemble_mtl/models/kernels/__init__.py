"""Loops that numba compiles for this machine's CPU, as functions that torch's autograd knows.

For each there are operations of torch that give the same numbers up to rounding. These take over on other devices and
for other types, for second derivatives, and where operations are recorded
(:mod:`ensemble_mtl.curvature.forms.tape`), since a compiled loop is invisible to torch.
"""

from ensemble_mtl.models.kernels import norm, pna
from ensemble_mtl.models.kernels.compiled_loops import TYPES, usable
from ensemble_mtl.models.kernels.norm import batch_norm_relu
from ensemble_mtl.models.kernels.pna import aggregate

__all__ = ["aggregate", "batch_norm_relu", "load", "usable"]


def load() -> None:
    """Compile or load every loop, as the first training step would; processes may be forked afterwards."""
    for dtype in TYPES:
        pna.load(dtype)
        norm.load(dtype)
