#!/bin/bash
#SBATCH --job-name=quickstart-mpi-1
#SBATCH --output=quickstart-mpi-1.%j.log
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=16
#SBATCH --cpus-per-task=4
#SBATCH --gpus-per-node=4
#SBATCH --time=06:00:00
#SBATCH --qos=regular
#SBATCH --constraint=gpu
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
# Made by `ensemble-mtl submit` for the site perlmutter.

export SRUN_CPUS_PER_TASK=4
module load python
export OMP_NUM_THREADS=1
export ENSEMBLE_MTL_DEADLINE="${SLURM_JOB_END_TIME:-$(($(date +%s) + 21600))}"
submission=/studies/quickstart/jobs/quickstart-mpi-1
restarts="${SLURM_RESTART_COUNT:-0}"
again() { # why
    if [ -e "$submission/cancelled" ]; then
        echo "ensemble-mtl: cancelled, so not requeued: $1"
    elif [ "$restarts" -ge 3 ]; then
        echo "ensemble-mtl: giving up after $restarts restarts: $1; the same submit continues"
    else
        echo "ensemble-mtl: requeued: $1"
        scontrol requeue "$SLURM_JOB_ID" && exec sleep 600 # until the scheduler ends it
    fi
    exit 1
}

trap 'kill -USR1 "$child"' USR1 # before the limit, to this shell alone: checkpoint
trap : TERM # at the end, to every process: let them checkpoint
srun --kill-on-bad-exit=1 /venv/bin/python -P -m mpi4py -m ensemble_mtl run \
    /studies/quickstart/jobs/quickstart-mpi-1/study.yaml --out /studies/quickstart --launcher mpi --no-report &
child=$!
while kill -0 "$child" 2>/dev/null; do wait "$child"; done # a signal ends a wait, not the child
wait "$child"
code=$?
case $code in
    0 | 1 | 2 | 3 | 126 | 127) exit $code ;; # as `ensemble-mtl --help` says; 126, 127: cannot be started
    99) again "stopped with checkpoints" ;;
    *) again "ended by exit code $code" ;; # a process was killed
esac
