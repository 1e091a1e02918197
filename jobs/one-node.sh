#!/usr/bin/env bash
# A whole study on one node: on a laptop, or as the script of a one-node job of any scheduler.
#   jobs/one-node.sh CONFIG [OPTIONS of `ensemble-mtl run`]
# The local launcher uses every GPU of the node, or else every core. Stopped by SIGTERM it
# checkpoints and exits with 99; submitted again, it continues.
set -euo pipefail
export OMP_NUM_THREADS=1
exec ensemble-mtl run "$@"
