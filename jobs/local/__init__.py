"""This machine: child processes, one owner for each sweep."""
