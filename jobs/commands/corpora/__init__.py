"""Verbs about a corpus as it lies on disk."""
