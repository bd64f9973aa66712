"""Annotations of long recordings: files that say what is spoken, and from when to when."""
