"""What is chance: intervals and tests of error rates. NumPy only."""
