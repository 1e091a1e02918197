"""``python -m ensemble_mtl.kernels`` compiles every loop beforehand, for example where an image is built."""

from ensemble_mtl.kernels import load

load()
