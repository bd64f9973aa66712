"""The experiment: from audio to a report. Runs on a laptop; knows nothing of SLURM."""
