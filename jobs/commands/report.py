"""The verb report: write the report of sweeps or of a run, at any time.

In:   typed options.   Out: a folder in `work/reports/`; an exit code.
Not here: gathering the runs (sweep/report.py), what a report says (pipeline/results/).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from jobs.profile import Profile
from jobs.sweep.folder import SweepFolder, sweep_name
from jobs.sweep.record import load_record, report_commands, set_argument
from jobs.sweep.report import write_run_report, write_sweep_report
from jobs.work_folder import find_run, load_profile_and_workdir, report_command
from pipeline.config.experiment import load_experiment
from pipeline.config.loader import parse_changes
from pipeline.config.sweep import single_run_sweep
from pipeline.files import InputError
from pipeline.results.page.figure_files import Formats


def report(options: argparse.Namespace) -> int:
    profile, work = load_profile_and_workdir(options)
    formats = Formats(options.excel, options.images)
    if options.run:
        run = find_run(options.run, work)
        typed = f"EXPERIMENT={quote(str(run.experiment_file))}"
        commands = (f"make train {typed}", f"make report RUN={run.run_id}")
        placed = [report_command(command, profile, work) for command in commands]
        write_run_report(run, work, placed, formats)
        return 0
    if options.experiment:
        folders = [_experiment_folder(options, work)]
    else:
        changes = parse_changes(options.set)
        folders = [
            SweepFolder(work, sweep_name(name, changes)) for name in _split_names(options.sweeps)
        ]
    write_sweep_report(folders, _commands(folders, profile, work), formats)
    return 0


def _split_names(words: Sequence[str]) -> list[str]:
    """Return the sweeps of SWEEP="a.yaml b.yaml", each once; a path may hold spaces itself."""
    names = [name for word in words for name in ([word] if Path(word).exists() else word.split())]
    if not names:
        raise InputError("name a sweep, or an experiment with --experiment, or a run with --run")
    return list(dict.fromkeys(names))


def _experiment_folder(options: argparse.Namespace, work: Path) -> SweepFolder:
    changes = parse_changes(options.set)
    experiment = load_experiment(options.experiment, changes)
    folder = SweepFolder(
        work, single_run_sweep(options.experiment, experiment, "train", changes).name
    )
    if not folder.record_file.exists():
        typed = f"EXPERIMENT={quote(str(options.experiment))}{set_argument(changes)}"
        raise InputError(f"{folder.name}: not in {work}; make train {typed} trains it")
    return folder


def _commands(folders: Sequence[SweepFolder], profile: Profile, work: Path) -> list[str]:
    """Return the commands that make the table: those of each sweep, then of the report."""
    records = [load_record(folder) for folder in folders]
    if len(records) == 1:
        return list(report_commands(records[0], profile, work))
    names = quote(" ".join(record.name for record in records))
    commands = [*(record.command for record in records), f"make report SWEEP={names}"]
    return [report_command(command, profile, work) for command in commands]
