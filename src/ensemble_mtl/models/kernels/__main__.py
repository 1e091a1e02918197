"""``python -m ensemble_mtl.models.kernels`` compiles every loop beforehand, for example where an image is built."""

from ensemble_mtl.models.kernels import load

load()
