"""The report of a sweep: from its files, at any time.

In:   what the last `make sweep` planned, its run folders; SLURM may explain how a job ended.
Out:  `work/reports/<sweep>/`; the best run on the terminal.
Not here: what a report says (pipeline/results/).
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from jobs.messages import count, percent, say
from jobs.node.failures import REMEDIES
from jobs.sweep import job_queue, run_status
from jobs.sweep.folder import SweepFolder
from jobs.sweep.record import Wanted, recorded
from pipeline.results import efficiency, rejected
from pipeline.results import report as reports
from pipeline.results.rejected import Source
from pipeline.results.run_summary import Reading, SweepRun


def write(folder: SweepFolder, commands: Sequence[str]) -> None:
    """Write the report; print the best run and the path."""
    wanted = recorded(folder)
    queue = job_queue.ask(folder, job_queue.unfinished(wanted, folder))
    run_status.keep(run_status.survey(wanted, folder, queue), folder)
    runs = [SweepRun(run.label, run.settings, folder.run(run.run_id)) for run in wanted.runs]
    written = reports.write(
        wanted.name,
        wanted.question,
        runs,
        folder.reports,
        remedies=REMEDIES,
        commands=commands,
        refused=rejected.survey(_sources(wanted, folder)),
    )
    done = sum(run.folder.finished for run in runs)
    if runs and done < len(runs):
        say(f"{done} of {count(len(runs), 'run')} finished")
    if written.best:
        say(_scored(written.best))
    with (folder.reports / "summary.csv").open(encoding="utf-8", newline="") as file:
        for line in efficiency.advice(list(csv.DictReader(file))):
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
