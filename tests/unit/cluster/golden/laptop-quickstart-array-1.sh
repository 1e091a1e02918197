#!/bin/bash
#SBATCH --job-name=quickstart-array-1
#SBATCH --output=quickstart-array-1.%A_%a.log
#SBATCH --array=1-11%2
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --time=00:10:00
#SBATCH --signal=B:USR1@60
#SBATCH --requeue
#SBATCH --open-mode=append
# Made by `ensemble-mtl submit` for the site laptop.

export OMP_NUM_THREADS=1
export ENSEMBLE_MTL_DEADLINE="${SLURM_JOB_END_TIME:-$(($(date +%s) + 600))}"
submission=/studies/quickstart/jobs/quickstart-array-1
restarts="${SLURM_RESTART_COUNT:-0}"
again() { # why
    if [ -e "$submission/cancelled" ]; then
        echo "ensemble-mtl: cancelled, so not requeued: $1"
    elif [ "$restarts" -ge 3 ]; then
        echo "ensemble-mtl: giving up after $restarts restarts: $1; the same submit continues"
    else
        echo "ensemble-mtl: requeued: $1"
        scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" && exec sleep 600 # until the scheduler ends it
    fi
    exit 1
}

trap 'kill -USR1 "$child"' USR1 # before the limit, to this shell alone: checkpoint
trap : TERM # at the end, to every process: let them checkpoint
/venv/bin/python -P -m ensemble_mtl run /studies/quickstart/jobs/quickstart-array-1/study.yaml --out \
    /studies/quickstart --launcher local --no-report --set launch.launcher.workers=2 \
    --part "$SLURM_ARRAY_TASK_ID/11" &
child=$!
while kill -0 "$child" 2>/dev/null; do wait "$child"; done # a signal ends a wait, not the child
wait "$child"
code=$?
case $code in
    0 | 1 | 2 | 3 | 126 | 127) exit $code ;; # as `ensemble-mtl --help` says; 126, 127: cannot be started
    99) again "stopped with checkpoints" ;;
    *) again "ended by exit code $code" ;; # a process was killed
esac
