"""The report of a sweep, of several or of a run: from its files, at any time.

In:   what the last `make sweep` planned, its run folders; SLURM may explain how a job ended.
Out:  `work/reports/<sweep>/` (`<sweep>+<sweep>`, `run-<id>`); the answer on the terminal.
Not here: what a report says (pipeline/results/).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jobs.messages import print_line
from jobs.node.failures import REMEDIES
from jobs.sweep import job_queue, run_status
from jobs.sweep.folder import SweepFolder
from jobs.sweep.record import PlannedRun, SweepRecord, load_record, read_records
from pipeline.features import rejected
from pipeline.features.rejected import FeatureSource
from pipeline.results import report as reports
from pipeline.results.comparison.merge import merge_expectations, merge_sweeps
from pipeline.results.page.figure_files import DEFAULT_FORMATS, Formats
from pipeline.results.page.views import parse_header
from pipeline.results.report import WrittenReport
from pipeline.results.summary import efficiency
from pipeline.results.summary.run_summary import SweepRun
from pipeline.runs.folder import RunFolder


def write_sweep_report(
    folders: Sequence[SweepFolder], commands: Sequence[str], formats: Formats = DEFAULT_FORMATS
) -> None:
    """Write one report of the sweeps, and print its answer, advice and path.

    A run that belongs to more than one of them is counted once. `commands`: for the report's page,
    see `record.report_commands`; `formats`: of CSV files and figures.
    """
    found = [(load_record(folder), folder) for folder in folders]
    sweeps = [_read_runs(record, folder) for record, folder in found]
    name = "+".join(record.name for record, _ in found)
    runs = merge_sweeps(sweeps) if len(found) > 1 else sweeps[0]
    written = reports.write_report_folder(
        name,
        join_questions([record for record, _ in found]),
        runs,
        folders[0].work / "reports" / name,
        remedies=REMEDIES,
        commands=commands,
        expect=merge_expectations(sweeps, [record.expect for record, _ in found], runs),
        formats=formats,
        refused=rejected.collect_refusals(
            source for record, folder in found for source in _rejection_sources(record, folder)
        ),
    )
    _print_report(written)


def join_questions(records: Sequence[SweepRecord]) -> str:
    """Return the opening comment of the sweeps; of several, each part names its sweep behind it."""
    if len(records) == 1:
        return records[0].question
    headers = [(record.name, parse_header(record.question)) for record in records]
    lines = []
    for part in ("question", "cost", "expect"):
        texts = [f"{header[part]} ({name})" for name, header in headers if header[part]]
        if texts:
            lines.append(f"{part.capitalize()}: {' '.join(texts)}")
    return "\n".join(lines)


def write_run_report(
    run: RunFolder, work: Path, commands: Sequence[str], formats: Formats = DEFAULT_FORMATS
) -> None:
    """Write the report of a single run, and print its answer, advice and path."""
    swept = _find_swept(run, work) or SweepRun(run.run_id, {}, run)
    written = reports.write_report_folder(
        f"run-{run.run_id}",
        "",
        [swept],
        work / "reports" / f"run-{run.run_id}",
        remedies=REMEDIES,
        commands=commands,
        formats=formats,
        refused=[],
    )
    _print_report(written)


def _read_runs(record: SweepRecord, folder: SweepFolder) -> list[SweepRun]:
    """Return the runs of a sweep; what SLURM says of a job that ended is recorded first."""
    queue = job_queue.try_query_slurm(folder, job_queue.unfinished_items(record, folder))
    run_status.record_scheduler_failures(run_status.run_statuses(record, folder, queue), folder)
    return [swept_run(record, run, folder) for run in record.runs]


def swept_run(record: SweepRecord, run: PlannedRun, folder: SweepFolder) -> SweepRun:
    features, changes = folder.features(run.feature_id), {**record.fixed, **record.changes}
    return SweepRun(run.label, run.settings, folder.run(run.run_id), features, record.name, changes)


def _find_swept(run: RunFolder, work: Path) -> SweepRun | None:
    """Return the run as the first sweep that has it names it; None if no record does."""
    records = (record for _, record in read_records(work))
    found = [(record, one) for record in records for one in record.runs if one.run_id == run.run_id]
    if not found:
        return None
    record, one = found[0]
    swept = swept_run(record, one, SweepFolder(work, record.name))
    return replace(swept, folder=run, sweep=" ".join(each.name for each, _ in found))


def _print_report(written: WrittenReport) -> None:
    for sentence in (*written.asked, *written.answer, *written.notes):
        print_line(sentence)
    for line in efficiency.resource_advice(written.summary):
        print_line(line)
    print_line(f"report: {written.page}")


def _rejection_sources(record: SweepRecord, folder: SweepFolder) -> list[FeatureSource]:
    return [
        FeatureSource(Path(each.manifest), folder.features(each.feature_id), each.slices)
        for each in record.features
    ]
