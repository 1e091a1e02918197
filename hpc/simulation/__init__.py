"""A discrete-event simulation of a study on a cluster; see ``hpc/simulate.py``."""
