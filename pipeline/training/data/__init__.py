"""Shards -> normalised, augmented batches."""
