"""SLURM: submission through submitit, squeue, sacct, limits, reasons."""
