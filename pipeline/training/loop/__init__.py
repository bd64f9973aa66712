"""The training loop: epochs, updates, evaluation, checkpoints, loggers."""
