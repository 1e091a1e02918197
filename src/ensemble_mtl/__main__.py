"""``python -m ensemble_mtl`` is ``ensemble-mtl``."""

from ensemble_mtl.cli.main import main

main()
