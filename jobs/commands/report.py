"""The report of a sweep, at any time, from files; where SLURM answers it may explain an end.

In:   what the last `make sweep` wanted, and its run folders.   Out: `work/reports/<sweep>/`.
Not here: what a report says (pipeline/results).
"""

import argparse

from jobs.commands.status import sweep_folder
from jobs.sweep.record import load_record, report_commands
from jobs.sweep.report import write_sweep_report
from jobs.work_folder import load_profile_and_workdir


def report(options: argparse.Namespace) -> int:
    profile, work = load_profile_and_workdir(options)
    folder = sweep_folder(options)
    write_sweep_report(folder, report_commands(load_record(folder), profile, work))
    return 0
