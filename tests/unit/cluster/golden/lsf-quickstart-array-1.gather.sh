#!/bin/bash
#BSUB -J "quickstart-array-1.gather"
#BSUB -o quickstart-array-1.gather.%J.out
#BSUB -n 1
#BSUB -R "span[ptile=1]"
#BSUB -W 0:30
# Made by `ensemble-mtl submit` for the site lsf.

export OMP_NUM_THREADS=1
exec /venv/bin/python -P -m ensemble_mtl report /studies/quickstart/jobs/quickstart-array-1/study.yaml --out \
    /studies/quickstart
