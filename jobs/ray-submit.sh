#!/usr/bin/env bash
# A study in a Ray cluster that runs already:
#   RAY_API_SERVER_ADDRESS=http://HEAD:8265 jobs/ray-submit.sh CONFIG [OPTIONS of `ensemble-mtl run`]
# CONFIG, data and study directory lie where every node sees them; nothing is uploaded, since what is uploaded comes
# before installed packages and a file there that is called random.py would take the place of Python's own. The
# submitter's environment does not travel; `ensemble-mtl` is to be installed on the nodes.
# `ray job list` shows it, `ray job stop ID` ends it with checkpoints; the same command continues.
set -euo pipefail
export RAY_USAGE_STATS_ENABLED=0
: "${RAY_API_SERVER_ADDRESS:?the address of the head node, such as http://HEAD:8265}"
config=$(realpath -m -- "${1:?the configuration of the study}") # the nodes see it, this machine may not
exec ray job submit --runtime-env-json '{"env_vars": {"OMP_NUM_THREADS": "1"}}' \
    -- ensemble-mtl run "$config" "${@:2}" --launcher ray
