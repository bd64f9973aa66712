"""Reconciliation: gather the state of a sweep, decide, submit or run what is missing."""
