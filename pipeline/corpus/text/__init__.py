"""Transcripts: the rules of languages, the normal form, alphabets."""
