#!/bin/bash
#SBATCH --job-name=quickstart-array-1.gather
#SBATCH --output=quickstart-array-1.gather.%j.log
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=1
#SBATCH --gpus-per-node=1
#SBATCH --time=00:30:00
#SBATCH --qos=regular
#SBATCH --constraint=gpu
# Made by `ensemble-mtl submit` for the site perlmutter.

module load python
export OMP_NUM_THREADS=1
exec /venv/bin/python -P -m ensemble_mtl report /studies/quickstart/jobs/quickstart-array-1/study.yaml --out \
    /studies/quickstart
