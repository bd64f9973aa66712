"""The verb task: execute one task file in a child process. Only this program uses it.

In:   typed options.   Out: an exit code.
Not here: the task itself (launch/entrypoint.py).
"""

import argparse

from jobs.launch import entrypoint


def task(options: argparse.Namespace) -> int:
    return entrypoint.run_child(options.file)
