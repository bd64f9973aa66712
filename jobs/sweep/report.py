"""The report of a sweep: from its files, at any time.

In:   what the last `make sweep` planned, its run folders; SLURM may explain how a job ended.
Out:  `work/reports/<sweep>/`; the answer on the terminal.
Not here: what a report says (pipeline/results/).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.messages import count_text, print_line
from jobs.node.failures import REMEDIES
from jobs.sweep import job_queue, run_status
from jobs.sweep.folder import SweepFolder
from jobs.sweep.record import SweepRecord, load_record
from pipeline.features import rejected
from pipeline.features.rejected import FeatureSource
from pipeline.results import report as reports
from pipeline.results.summary import efficiency
from pipeline.results.summary.run_summary import SweepRun
from pipeline.results.tables.export import Excel

MAX_NAMED_RUNS = 5  # in a line about a cause of failure


def write_sweep_report(
    folder: SweepFolder, commands: Sequence[str], excel: Excel | None = None
) -> None:
    """Write the report of a sweep, and print its answer, advice and path.

    `commands`: for the report's page, see `record.report_commands`; `excel`: CSV files for Excel.
    """
    record = load_record(folder)
    queue = job_queue.try_query_slurm(folder, job_queue.unfinished_items(record, folder))
    run_status.record_scheduler_failures(run_status.run_statuses(record, folder, queue), folder)
    runs = [
        SweepRun(
            run.label,
            run.settings,
            folder.run(run.run_id),
            folder.features(run.feature_id),
            record.name,
            record.changes,
        )
        for run in record.runs
    ]
    written = reports.write_report_folder(
        record.name,
        record.question,
        runs,
        folder.reports,
        remedies=REMEDIES,
        commands=commands,
        excel=excel,
        refused=rejected.collect_refusals(_rejection_sources(record, folder)),
    )
    for sentence in (*written.answer, *written.warnings):
        print_line(sentence)
    for line in [
        *_failure_lines(written.summary),
        *efficiency.resource_advice(written.summary),
    ]:
        print_line(line)
    print_line(f"report: {written.page}")


def _failure_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each cause, with its runs and the way out; `rows`: of summary.csv."""
    labels: dict[str, list[str]] = {}
    for row in rows:
        if row["state"] == "failed":
            labels.setdefault(row["cause"], []).append(row["label"])
    return [
        f"{count_text(len(runs), 'run')} failed, {cause}: {', '.join(runs[:MAX_NAMED_RUNS])}"
        f"{', …' if runs[MAX_NAMED_RUNS:] else ''}; {REMEDIES.get(cause, 'make status shows why')}"
        for cause, runs in labels.items()
    ]


def _rejection_sources(record: SweepRecord, folder: SweepFolder) -> list[FeatureSource]:
    return [
        FeatureSource(Path(each.manifest), folder.features(each.feature_id), each.slices)
        for each in record.features
    ]
