"""Tasks on this machine: child processes, and one owner process for each sweep."""
