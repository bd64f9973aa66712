"""The report of a sweep, at any time, from files; where SLURM answers it may explain an end.

In:   what the last `make sweep` wanted, and its run folders.   Out: `work/reports/<sweep>/`.
Not here: what a report says (pipeline/results).
"""

import argparse

from jobs.commands.status import sweep_folder
from jobs.profile import place
from jobs.sweep.record import recorded, typed
from jobs.sweep.report import write


def report(options: argparse.Namespace) -> int:
    profile, work = place(options)
    folder = sweep_folder(options)
    write(folder, typed(recorded(folder), profile, work))
    return 0
