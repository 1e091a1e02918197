#!/bin/bash
#BSUB -J "quickstart-array-1[1-2]%4"
#BSUB -o quickstart-array-1.%J-%I.out
#BSUB -nnodes 1
#BSUB -W 2:00
#BSUB -q "batch"
#BSUB -alloc_flags "gpumps"
#BSUB -Q "99"
#BSUB -r
#BSUB -wa USR1
#BSUB -wt 0:05
# Made by `ensemble-mtl submit` for the site summit.

exec >>quickstart-array-1."$LSB_JOBID-$LSB_JOBINDEX".log 2>&1
module load open-ce
export OMP_NUM_THREADS=1
export ENSEMBLE_MTL_DEADLINE="$(($(date +%s) + 7200))"
submission=/studies/quickstart/jobs/quickstart-array-1
restarts=$(cat "$submission/restarts-$LSB_JOBID-$LSB_JOBINDEX" 2>/dev/null || echo 0)
again() { # why
    if [ -e "$submission/cancelled" ]; then
        echo "ensemble-mtl: cancelled, so not requeued: $1"
    elif [ "$restarts" -ge 3 ]; then
        echo "ensemble-mtl: giving up after $restarts restarts: $1; the same submit continues"
    else
        echo "ensemble-mtl: requeued: $1"
        echo $((restarts + 1)) >"$submission/restarts-$LSB_JOBID-$LSB_JOBINDEX" && exit 99 # which -Q makes run again
    fi
    exit 1
}

trap : USR1 USR2 INT TERM # LSF sends them to every process of the job: let them checkpoint
jsrun -n 1 -r 1 -a 1 -c 42 -g 6 -b none /venv/bin/python -P -m ensemble_mtl run \
    /studies/quickstart/jobs/quickstart-array-1/study.yaml --out /studies/quickstart --launcher local \
    --no-report --set launch.launcher.workers=12 --part "$LSB_JOBINDEX/2" &
child=$!
while kill -0 "$child" 2>/dev/null; do wait "$child"; done # a signal ends a wait, not the child
wait "$child"
code=$?
case $code in
    0 | 1 | 2 | 3 | 126 | 127) exit $code ;; # as `ensemble-mtl --help` says; 126, 127: cannot be started
    99) again "stopped with checkpoints" ;;
    *) again "ended by exit code $code" ;; # a process was killed
esac
