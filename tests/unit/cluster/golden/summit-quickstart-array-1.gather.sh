#!/bin/bash
#BSUB -J "quickstart-array-1.gather"
#BSUB -o quickstart-array-1.gather.%J.out
#BSUB -nnodes 1
#BSUB -W 0:30
#BSUB -q "batch"
#BSUB -alloc_flags "gpumps"
# Made by `ensemble-mtl submit` for the site summit.

module load open-ce
export OMP_NUM_THREADS=1
exec /venv/bin/python -P -m ensemble_mtl report /studies/quickstart/jobs/quickstart-array-1/study.yaml --out \
    /studies/quickstart
