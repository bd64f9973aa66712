"""The report of a sweep, at any time, from files; where SLURM answers it may explain an end.

In:   what the last `make sweep` wanted, and its run folders.   Out: `work/reports/<sweep>/`.
Not here: what a report says (pipeline/results).
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs import endings, status
from jobs.console import percent, say
from jobs.failures import REMEDIES
from jobs.looking import sweep_folder
from jobs.profile import place
from jobs.wanted import SweepFolder, recorded, typed
from pipeline.results import report as reports
from pipeline.results import thrift
from pipeline.results.reading import SweepRun


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
    page = reports.write(
        wanted.name,
        wanted.question,
        runs,
        folder.reports,
        remedies=REMEDIES,
        commands=commands,
    )
    lines = _lines(folder.reports / "summary.csv")
    if best := _best(lines):
        say(best)
    for line in thrift.advice(lines):
        say(line)
    say(f"report: {page}")


def _lines(summary: Path) -> list[dict[str, str]]:
    with summary.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _best(lines: Sequence[Mapping[str, str]]) -> str:
    """The run with the lowest dev CER: the test split must not choose."""
    rows = [row for row in lines if row["dev_cer"] and row["test_cer"]]
    if not rows:
        return ""
    best = min(rows, key=lambda row: float(row["dev_cer"]))
    return (
        f"best run: {best['label']} ({best['run_id']}): "
        f"test CER {percent(float(best['test_cer']))}, WER {percent(float(best['test_wer']))}"
    )
