"""Readers: one module for each family of corpus layouts."""
