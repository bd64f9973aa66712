"""The live view of a sweep in a terminal; a line for each event if the output is piped.

In:   a sweep's record, the files of its runs.   Out: the table, refreshed; printed lines.
Not here: finding a state (sweep/run_status.py), its text (run_lines.py, run_table.py).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from jobs.display import feature_progress
from jobs.display.run_lines import epoch_line, epoch_report_lines, event_line
from jobs.messages import LINE_INTERVAL_S, console, in_terminal, print_line
from jobs.sweep import feature_status, job_queue, queue_cache, run_status
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.record import SweepRecord
from jobs.sweep.run_status import LIVE_STATES, RunStatus, State
from pipeline.files import InputError
from pipeline.runs.rows import Row

REFRESH_INTERVAL_S = 0.5
FILE_POLL_INTERVAL_S = 2.0
MAX_QUEUE_POLL_INTERVAL_S = 180.0  # poll_min_s of the profile may be longer


class Watcher:
    """Shows the progress of a sweep while this machine works on it; `runs`: also its runs."""

    def __init__(
        self, record: SweepRecord, folder: SweepFolder, queue: Queue, *, runs: bool
    ) -> None:
        self._record = record if runs else replace(record, runs=())
        self._folder = folder
        self._queue = queue  # as it was at the start
        self._live = _import_run_table().live_display() if in_terminal() else None
        self._next_refresh = 0.0
        # run id -> state and epoch of its last line
        self._printed: dict[str, tuple[str, int]] = {}
        # run id -> time and size of its file of rows, and the last rows in it
        self._epoch_rows: dict[str, tuple[tuple[int, int], tuple[Row, Row] | None]] = {}
        self._printed_at: dict[str, float] = {}
        self._features_printed_at = time.monotonic()
        runs_of_sweep = record.runs
        self._single_run = folder.run(runs_of_sweep[0].run_id) if len(runs_of_sweep) == 1 else None
        # A report that was there before is not printed.
        self._epoch_report = self._single_run.epoch_report() if self._single_run else None

    def __enter__(self) -> "Watcher":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.refresh(now=True)
        if self._live:
            self._live.stop()

    def refresh(self, features: Callable[[], str] = lambda: "", *, now: bool = False) -> None:
        """Show what has changed, if the last refresh is long enough ago, or if `now`.

        `features` returns the progress of features while they are computed, else "".
        """
        began = time.monotonic()
        if began < self._next_refresh and not now:
            return
        statuses = run_status.run_statuses(self._record, self._folder, self._queue)
        if self._live:
            shown = _import_run_table().LiveOverview(statuses, (), features())
            self._live.update(shown, refresh=True)
        else:
            for run in statuses:
                self._print_run(run)
            self._print_features(features)
        self._print_epoch()
        # With a thousand runs a refresh takes long; at most a tenth of the time is spent on it.
        spent = time.monotonic() - began
        self._next_refresh = time.monotonic() + max(REFRESH_INTERVAL_S, 10 * spent)

    def _print_epoch(self) -> None:
        """If there is only one run, print its state and some hypotheses after each epoch."""
        report = self._single_run.epoch_report() if self._single_run else None
        if report and report != self._epoch_report:
            self._epoch_report = report
            for line in epoch_report_lines(report):
                print_line(line)

    def _print_features(self, features: Callable[[], str]) -> None:
        if time.monotonic() - self._features_printed_at > LINE_INTERVAL_S and (line := features()):
            self._features_printed_at = time.monotonic()
            print_line(line)

    def _print_run(self, run: RunStatus) -> None:
        """Print a line if the state has changed, and for a new epoch, but not too often."""
        heartbeat, state = run.heartbeat, str(run.state)
        if self._single_run and heartbeat and heartbeat.doing:
            state = f"{state}, {heartbeat.doing}"
        previous_state, printed_epoch = self._printed.get(run.run_id, ("", 0))
        if state == previous_state == "finished":
            return
        rows = self._last_epoch_rows(run.run_id)
        epoch = rows[1]["epoch"] if rows else 0
        if not previous_state:
            self._printed[run.run_id] = state, epoch
            return
        lines = [event_line(run, printed_epoch)] if state != previous_state else []
        since_last_line = time.monotonic() - self._printed_at.get(run.run_id, 0.0)
        interval = 0.0 if self._single_run else LINE_INTERVAL_S
        if rows and epoch > printed_epoch and (lines or since_last_line > interval):
            # The last epoch is printed before the end of its run.
            lines.insert(len(lines) if run.state == "running" else 0, epoch_line(run, *rows))
            printed_epoch = epoch
        for line in lines:
            self._printed_at[run.run_id] = time.monotonic()
            print_line(line)
        self._printed[run.run_id] = state, printed_epoch

    def _last_epoch_rows(self, run_id: str) -> tuple[Row, Row] | None:
        """Return the train row and the dev row of the last finished epoch."""
        folder = self._folder.run(run_id)
        try:
            stat = folder.rows_file.stat()
            version = stat.st_mtime_ns, stat.st_size
            if self._epoch_rows.get(run_id, (None, None))[0] != version:
                self._epoch_rows[run_id] = version, _last_epoch(folder.rows())
        except (OSError, InputError):  # no file yet, or a damaged one, which its status reports
            return None
        return self._epoch_rows[run_id][1]


def _last_epoch(rows: Sequence[Row]) -> tuple[Row, Row] | None:
    trained = [row for row in rows if row["split"] == "train"]
    scored = [row for row in rows if row["split"] == "dev"]
    return (trained[-1], scored[-1]) if trained and scored else None


def watch(
    record: SweepRecord,
    folder: SweepFolder,
    min_interval_s: float,
    more_lines: Callable[[Queue], Sequence[str]],
    *,
    once: bool,
) -> None:
    """Show the state of a sweep until no run is queued or running; once if the output is piped.

    `min_interval_s`: shortest time between two queries of SLURM. The time grows while no state
    changes. `more_lines`: returns lines below the table.
    """
    queue = queue_cache.get_queue(
        folder, job_queue.unfinished_items(record, folder), min_interval_s
    )
    queried_at, interval_s = time.monotonic(), min_interval_s
    live = in_terminal() and not once
    shown, states = _overview(record, folder, queue, more_lines, live=live)
    if not live:
        console().print(shown)
        return
    with _import_run_table().live_display(shown) as screen:
        while LIVE_STATES.intersection(states):
            time.sleep(FILE_POLL_INTERVAL_S)
            before = states
            if time.monotonic() - queried_at > interval_s:
                queue = queue_cache.refresh_queue(
                    folder, job_queue.unfinished_items(record, folder)
                )
                queried_at = time.monotonic()
                interval_s = next_poll_interval(interval_s, min_interval_s)
            shown, states = _overview(record, folder, queue, more_lines, live=True)
            if states != before:
                interval_s = min_interval_s
            screen.update(shown, refresh=True)


def _overview(
    record: SweepRecord,
    folder: SweepFolder,
    queue: Queue,
    more_lines: Callable[[Queue], Sequence[str]],
    *,
    live: bool,
) -> tuple[Any, list[State]]:
    """Return what a terminal shows, and the state of each run; `live`: within its height."""
    runs = run_status.run_statuses(record, folder, queue)
    run_status.record_scheduler_failures(runs, folder)
    features = feature_status.feature_statuses(record, folder)
    missing = [item for each in features for item in each.missing]
    failures = feature_status.shard_failures(missing, folder, queue) if missing else {}
    notes = [
        *feature_progress.job_progress_lines(record, folder, features),
        *feature_status.feature_failure_lines(list(failures.values())),
        *feature_status.report_failure_lines(folder, queue),
        *more_lines(queue),
    ]
    note = "\n".join([*notes, queue.error_message]).strip()
    table = _import_run_table()
    shown = (table.LiveOverview if live else table.overview)(runs, features, note)
    return shown, [run.state for run in runs]


def next_poll_interval(interval_s: float, min_interval_s: float) -> float:
    """Return the next time between two queries, after a query that showed no change."""
    return max(min_interval_s, min(interval_s + min_interval_s, MAX_QUEUE_POLL_INTERVAL_S))


def _import_run_table() -> Any:
    """Import it when needed: rich loads as slowly as all of jobs/, and piped lines need none."""
    from jobs.display import run_table  # noqa: PLC0415

    return run_table
