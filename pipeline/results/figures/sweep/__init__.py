"""Figures of a whole sweep: effects of settings, escapes, searches."""
