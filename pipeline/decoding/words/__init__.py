"""Decoding with a lexicon and an n-gram model."""
