"""Lines about a sweep that has changed: added runs or decodings, and removed runs whose jobs go on.

In:   a sweep's record, its ledger, what SLURM knows of its jobs.   Out: lines.
Not here: what the file wants now (sweep/record.py), cancelling jobs (commands/status.py).
"""

from collections.abc import Collection, Iterator, Mapping

from jobs.messages import count_text, join_first
from jobs.profile import Profile
from jobs.sweep import job_queue
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.record import PlannedRun, SweepRecord
from jobs.work_folder import make_command
from pipeline.config.sweep import Sweep

NO_LABELS: Mapping[str, str] = {}


def removed_run_lines(
    record: SweepRecord,
    wanted: Collection[str],
    folder: SweepFolder,
    queue: Queue,
    *,
    cancel: str,
    labels: Mapping[str, str] = NO_LABELS,
) -> list[str]:
    """Name runs that are not among the `wanted` ones any more and whose jobs go on.

    `cancel`: the command that cancels such jobs. `labels`: run id -> its label in the sweep before.
    """
    known = {**{run.run_id: run.label for run in record.runs}, **labels}
    tasks = job_queue.tasks_of_removed_runs(wanted, folder, queue)
    runs = [f"{known.get(i, i[:8])} (job {e.job})" for e, items in tasks.items() for i in items]
    if not runs:
        return []
    go_on = (
        "is not in the sweep any more, and its job goes"
        if len(runs) == 1
        else "are not in the sweep any more, and their jobs go"
    )
    return [f"{join_first(runs)} {go_on} on; {cancel} cancels what no other sweep needs"]


def changed_file_line(
    path: str, record: SweepRecord, planned: Collection[PlannedRun], command: str
) -> str:
    """Return what the sweep file wants differently from the last make sweep.

    `command`: continues the sweep.
    """
    before = {run.run_id for run in record.runs}
    now = {run.run_id for run in planned}
    added = [run.label for run in planned if run.run_id not in before]
    removed = [run.label for run in record.runs if run.run_id not in now]
    line = f"{path} has changed since the last make sweep, which is shown here"
    if removed:
        line += f"; removed: {join_first(removed)}"
    if added:
        line += f"; added: {join_first(added)}, which {command} submits"
    return line


def undecoded_lines(
    sweep: Sweep, record: SweepRecord, folder: SweepFolder, profile: Profile
) -> Iterator[str]:
    """Yield what to type where decodings of `decode.also` are younger than the finished runs."""
    from pipeline.runs.decodings import DecodingFolder  # noqa: PLC0415 (not for status)

    missing: set[str] = set()
    runs = 0
    for swept, planned in zip(sweep.experiments, record.runs, strict=False):
        also, run = swept.experiment.decode.also, folder.run(planned.run_id)
        if not also or not run.finished:
            continue
        made = [each.settings() for each in DecodingFolder.list_finished(run)]
        lacking = {
            one.describe(swept.experiment.corpus.units)
            for one in also
            if not any(each.covers(one) for each in made)
        }
        missing |= lacking
        runs += bool(lacking)
    if missing:
        is_sweep = record.command.startswith("make sweep")
        named = f"SWEEP={record.name}" if is_sweep else f"RUN={record.runs[0].run_id}"
        again = make_command(f"make decode {named}", profile, folder.work)
        yield (
            f"not decoded with {' and with '.join(sorted(missing))}, which decode.also asks for: "
            f"{count_text(runs, 'run')}; {again} does it without training"
        )
