#!/bin/bash
#BSUB -J "quickstart-ray-1"
#BSUB -o quickstart-ray-1.%J.out
#BSUB -n 8
#BSUB -R "span[ptile=4]"
#BSUB -W 1:00
#BSUB -Q "99"
#BSUB -r
#BSUB -wa USR1
#BSUB -wt 0:02
# Made by `ensemble-mtl submit` for the site lsf.

exec >>quickstart-ray-1."$LSB_JOBID".log 2>&1
export OMP_NUM_THREADS=1
export ENSEMBLE_MTL_DEADLINE="$(($(date +%s) + 3600))"
submission=/studies/quickstart/jobs/quickstart-ray-1
restarts=$(cat "$submission/restarts-$LSB_JOBID" 2>/dev/null || echo 0)
again() { # why
    if [ -e "$submission/cancelled" ]; then
        echo "ensemble-mtl: cancelled, so not requeued: $1"
    elif [ "$restarts" -ge 3 ]; then
        echo "ensemble-mtl: giving up after $restarts restarts: $1; the same submit continues"
    else
        echo "ensemble-mtl: requeued: $1"
        echo $((restarts + 1)) >"$submission/restarts-$LSB_JOBID" && exit 99 # which -Q makes run again
    fi
    exit 1
}

trap : USR1 USR2 INT TERM # LSF sends them to every process of the job: let them checkpoint
mpiexec -n 2 -ppn 1 /venv/bin/python -P -m ensemble_mtl.launch.ray.nodes "$submission/ray-$LSB_JOBID-$restarts" \
    --nodes 2 --cpus 4 --gpus 0 -- /venv/bin/python -P -m ensemble_mtl run \
    /studies/quickstart/jobs/quickstart-ray-1/study.yaml --out /studies/quickstart --launcher ray --no-report &
child=$!
while kill -0 "$child" 2>/dev/null; do wait "$child"; done # a signal ends a wait, not the child
wait "$child"
code=$?
case $code in
    0 | 1 | 2 | 3 | 126 | 127) exit $code ;; # as `ensemble-mtl --help` says; 126, 127: cannot be started
    99) again "stopped with checkpoints" ;;
    *) again "ended by exit code $code" ;; # a process was killed
esac
