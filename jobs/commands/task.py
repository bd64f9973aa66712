"""The verb task: what a child process of this machine is started with. Internal.

In:   typed options.   Out: an exit code.
Not here: the task itself (launch/entrypoint.py).
"""

import argparse

from jobs.launch import entrypoint


def task(options: argparse.Namespace) -> int:
    return entrypoint.run_child(options.file)
