"""The report of a sweep, at any time, from files; where SLURM answers it may explain an end.

In:   what the last `make sweep` wanted, and its run folders.   Out: `work/reports/<sweep>/`.
Not here: what a report says (pipeline/results).
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from jobs import endings, status
from jobs.console import count, percent, say
from jobs.failures import REMEDIES
from jobs.looking import sweep_folder
from jobs.profile import place
from jobs.wanted import SweepFolder, Wanted, recorded, typed
from pipeline.results import refused, thrift
from pipeline.results import report as reports
from pipeline.results.reading import Reading, SweepRun
from pipeline.results.refused import Source


def report(options: argparse.Namespace) -> int:
    profile, work = place(options)
    folder = sweep_folder(options)
    write(folder, typed(recorded(folder), profile, work))
    return 0


def write(folder: SweepFolder, commands: Sequence[str]) -> None:
    """Write the report; print the best run and the path."""
    wanted = recorded(folder)
    queue = status.ask(folder, status.unfinished(wanted, folder))
    endings.keep(status.survey(wanted, folder, queue), folder)
    runs = [SweepRun(run.label, run.settings, folder.run(run.run_id)) for run in wanted.runs]
    written = reports.write(
        wanted.name,
        wanted.question,
        runs,
        folder.reports,
        remedies=REMEDIES,
        commands=commands,
        refused=refused.survey(_sources(wanted, folder)),
    )
    done = sum(run.folder.finished for run in runs)
    if runs and done < len(runs):
        say(f"{done} of {count(len(runs), 'run')} finished")
    if written.best:
        say(_scored(written.best))
    with (folder.reports / "summary.csv").open(encoding="utf-8", newline="") as file:
        for line in thrift.advice(list(csv.DictReader(file))):
            say(line)
    say(f"report: {written.page}")


def _sources(wanted: Wanted, folder: SweepFolder) -> list[Source]:
    return [
        Source(Path(each.manifest), folder.features(each.feature_id), each.slices)
        for each in wanted.features
    ]


def _scored(best: Reading) -> str:
    test = best.test
    if test and test["cer"] >= 1:
        return f"no best run: test CER {percent(test['cer'])} even where dev was heard best"
    rates = f": test CER {percent(test['cer'])}, WER {percent(test['wer'])}" if test else ""
    return f"best run: {best.run.label} ({best.run_id}){rates}"
