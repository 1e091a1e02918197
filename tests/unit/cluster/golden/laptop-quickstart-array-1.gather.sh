#!/bin/bash
#SBATCH --job-name=quickstart-array-1.gather
#SBATCH --output=quickstart-array-1.gather.%j.log
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=1
#SBATCH --time=00:10:00
# Made by `ensemble-mtl submit` for the site laptop.

export OMP_NUM_THREADS=1
exec /venv/bin/python -P -m ensemble_mtl report /studies/quickstart/jobs/quickstart-array-1/study.yaml --out \
    /studies/quickstart
