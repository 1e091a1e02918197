#!/bin/bash
#BSUB -J "quickstart-array-1[1-6]%2"
#BSUB -o quickstart-array-1.%J-%I.out
#BSUB -n 4
#BSUB -R "span[ptile=4]"
#BSUB -W 1:00
#BSUB -Q "99"
#BSUB -r
#BSUB -wa USR1
#BSUB -wt 0:02
# Made by `ensemble-mtl submit` for the site lsf.

exec >>quickstart-array-1."$LSB_JOBID-$LSB_JOBINDEX".log 2>&1
export OMP_NUM_THREADS=1
export ENSEMBLE_MTL_DEADLINE="$(($(date +%s) + 3600))"
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
/venv/bin/python -P -m ensemble_mtl run /studies/quickstart/jobs/quickstart-array-1/study.yaml --out \
    /studies/quickstart --launcher local --no-report --set launch.launcher.workers=4 --part "$LSB_JOBINDEX/6" &
child=$!
while kill -0 "$child" 2>/dev/null; do wait "$child"; done # a signal ends a wait, not the child
wait "$child"
code=$?
case $code in
    0 | 1 | 2 | 3 | 126 | 127) exit $code ;; # as `ensemble-mtl --help` says; 126, 127: cannot be started
    99) again "stopped with checkpoints" ;;
    *) again "ended by exit code $code" ;; # a process was killed
esac
