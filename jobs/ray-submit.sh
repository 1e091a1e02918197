#!/usr/bin/env bash
# A study in a Ray cluster that runs already:
#   RAY_API_SERVER_ADDRESS=http://HEAD:8265 jobs/ray-submit.sh CONFIG --out /shared/studies/NAME [OPTIONS]
# This folder is uploaded (at most 100 MiB; a file .rayignore says what is not), so CONFIG lies in it and is named
# relative to it. Data and study directory lie where every node sees them: name them by absolute paths. The
# submitter's environment does not travel; `ensemble-mtl` is to be installed on the nodes.
# `ray job list` shows it, `ray job stop ID` ends it with checkpoints; the same command continues.
set -euo pipefail
export RAY_USAGE_STATS_ENABLED=0
: "${RAY_API_SERVER_ADDRESS:?the address of the head node, such as http://HEAD:8265}"
exec ray job submit --working-dir . --runtime-env-json '{"env_vars": {"OMP_NUM_THREADS": "1"}}' \
    -- ensemble-mtl run "$@" --launcher ray
