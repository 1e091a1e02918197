"""``python -m ensemble_mtl`` is ``ensemble-mtl``."""

import os
import sys

# Without -P, Python imports from the working directory before all else; a user's coverage.py may lie there.
if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

from ensemble_mtl.cli.main import main

main()
