"""The verb report: write the report of a sweep, at any time.

In:   typed options.   Out: `work/reports/<sweep>/`; an exit code.
Not here: gathering the runs (sweep/report.py), what a report says (pipeline/results/).
"""

import argparse

from jobs.commands.status import sweep_folder
from jobs.sweep.record import load_record, report_commands
from jobs.sweep.report import write_sweep_report
from jobs.work_folder import load_profile_and_workdir


def report(options: argparse.Namespace) -> int:
    profile, work = load_profile_and_workdir(options)
    folder = sweep_folder(options)
    commands = report_commands(load_record(folder), profile, work)
    write_sweep_report(folder, commands, options.excel)
    return 0
