"""Watching a sweep: live in a terminal, a line per event where the output is piped.

In:   what a sweep wants, the files of its runs.   Out: the picture, refreshed.
Not here: how a state is found (status.py), how it is written out (console.py, picture.py).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any

from jobs.display import feature_progress
from jobs.display.run_lines import epoch_line, epoch_report_lines, event_line
from jobs.messages import console, in_terminal, print_line
from jobs.sweep import feature_status, job_queue, queue_cache, run_status
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.record import SweepRecord
from jobs.sweep.run_status import LIVE_STATES, RunStatus
from pipeline.files import InputError
from pipeline.runs.rows import Row

REFRESH_INTERVAL_S = 0.5
LINE_INTERVAL_S = 5.0  # of one run, or of the features
FILE_POLL_INTERVAL_S = 2.0
MAX_QUEUE_POLL_INTERVAL_S = 180.0  # unless the profile wants more


class Watcher:
    """What a person sees while this machine works on a sweep."""

    def __init__(
        self, wanted: SweepRecord, folder: SweepFolder, queue: Queue, *, runs: bool
    ) -> None:
        self._wanted = wanted if runs else replace(wanted, runs=())
        self._folder = folder
        self._queue = queue  # as it was at the beginning
        self._live = _import_run_table().live_display() if in_terminal() else None
        self._next_refresh = 0.0
        self._printed: dict[
            str, tuple[str, int]
        ] = {}  # run -> its state and its epoch, as last told
        # run -> time and size of its rows' file, and what that said
        self._epoch_rows: dict[str, tuple[tuple[int, int], tuple[Row, Row] | None]] = {}
        self._printed_at: dict[str, float] = {}
        self._features_printed_at = time.monotonic()
        self._single_run = (
            self._folder.run(wanted.runs[0].run_id) if len(wanted.runs) == 1 else None
        )
        self._epoch_report = (
            self._single_run.epoch_report() if self._single_run else None
        )  # of before

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
        self._next_refresh = 0.0
        self.refresh()
        if self._live:
            self._live.stop()

    def refresh(self, features: Callable[[], str] = lambda: "") -> None:
        """`features` says how far they are, while they are computed."""
        if time.monotonic() < self._next_refresh:
            return
        began = time.monotonic()
        statuses = run_status.run_statuses(self._wanted, self._folder, self._queue)
        if self._live:
            shown = _import_run_table().overview(statuses, (), features())
            self._live.update(shown, refresh=True)
        else:
            for run in statuses:
                self._print_run(run)
            self._print_features(features)
        self._print_epoch()
        # Of a thousand runs, looking must not be the work.
        spent = time.monotonic() - began
        self._next_refresh = time.monotonic() + max(REFRESH_INTERVAL_S, 10 * spent)

    def _print_epoch(self) -> None:
        """Of one run alone: where it stands, and what it hears by now."""
        account = self._single_run.epoch_report() if self._single_run else None
        if account and account != self._epoch_report:
            self._epoch_report = account
            for line in epoch_report_lines(account):
                print_line(line)

    def _print_features(self, features: Callable[[], str]) -> None:
        if time.monotonic() - self._features_printed_at > LINE_INTERVAL_S and (line := features()):
            self._features_printed_at = time.monotonic()
            print_line(line)

    def _print_run(self, run: RunStatus) -> None:
        """A line when a run starts or ends, for its last epoch, and for others after a silence."""
        beat, state = run.heartbeat, str(run.state)
        if self._single_run and beat and beat.doing:
            state = f"{state}, {beat.doing}"
        was, told = self._printed.get(run.run_id, ("", 0))
        if state == was == "finished":
            return
        ended = self._last_epoch_rows(run.run_id)
        epoch = ended[1]["epoch"] if ended else 0
        if not was:
            self._printed[run.run_id] = state, epoch
            return
        lines = [event_line(run, told)] if state != was else []
        silent = time.monotonic() - self._printed_at.get(run.run_id, 0.0)
        patience = 0.0 if self._single_run else LINE_INTERVAL_S
        if ended and epoch > told and (lines or silent > patience):
            lines.insert(len(lines) if run.state == "running" else 0, epoch_line(run, *ended))
            told = epoch
        for line in lines:
            self._printed_at[run.run_id] = time.monotonic()
            print_line(line)
        self._printed[run.run_id] = state, told

    def _last_epoch_rows(self, run_id: str) -> tuple[Row, Row] | None:
        """The train and the dev row of the last epoch that has ended."""
        folder = self._folder.run(run_id)
        try:
            facts = folder.rows_file.stat()
            seen = facts.st_mtime_ns, facts.st_size
            if self._epoch_rows.get(run_id, (None, None))[0] != seen:
                self._epoch_rows[run_id] = seen, _last_epoch(folder.rows())
        except (OSError, InputError):  # not there yet, or damaged, which the run's end will tell
            return None
        return self._epoch_rows[run_id][1]


def _last_epoch(rows: Sequence[Row]) -> tuple[Row, Row] | None:
    trained = [row for row in rows if row["split"] == "train"]
    scored = [row for row in rows if row["split"] == "dev"]
    return (trained[-1], scored[-1]) if trained and scored else None


@contextmanager
def show_status_line(initial_text: str) -> Iterator[Callable[[str], None]]:
    """What the block is at: a line that changes in a terminal, else one now and then."""
    if in_terminal():
        with console().status(initial_text) as shown:
            yield shown.update
        return
    told = time.monotonic()

    def tell(line: str) -> None:
        nonlocal told
        if time.monotonic() - told > LINE_INTERVAL_S:
            told = time.monotonic()
            print_line(line)

    yield tell


def watch(record: SweepRecord, folder: SweepFolder, min_interval_s: float, *, once: bool) -> None:
    """Show the state until nothing is queued or running any more.

    `least`: seconds between two questions to the scheduler.
    """
    table = _import_run_table()

    def look() -> tuple[Any, list[str]]:
        runs = run_status.run_statuses(record, folder, queue)
        run_status.record_scheduler_failures(runs, folder)
        features = feature_status.feature_statuses(record, folder)
        missing = [item for each in features for item in each.missing]
        ended = feature_status.shard_failures(missing, folder, queue) if missing else {}
        notes = [
            *feature_progress.job_progress_lines(record, folder, features),
            *feature_status.feature_failure_lines(list(ended.values())),
        ]
        note = "\n".join([*notes, queue.error_message]).strip()
        shown = table.overview(runs, features, note)
        return shown, [run.state for run in runs]

    queue = queue_cache.get_queue(
        folder, job_queue.unfinished_items(record, folder), min_interval_s
    )
    queried_at, interval_s = time.monotonic(), min_interval_s
    shown, states = look()
    if once or not in_terminal():
        console().print(shown)
        return
    with table.live_display(shown) as screen:
        while LIVE_STATES.intersection(states):
            time.sleep(FILE_POLL_INTERVAL_S)
            before = states
            if time.monotonic() - queried_at > interval_s:
                queue = queue_cache.refresh_queue(
                    folder, job_queue.unfinished_items(record, folder)
                )
                queried_at = time.monotonic()
                interval_s = next_poll_interval(interval_s, min_interval_s)
            shown, states = look()
            if states != before:
                interval_s = min_interval_s
            screen.update(shown, refresh=True)


def next_poll_interval(interval_s: float, min_interval_s: float) -> float:
    """Each time that nothing has changed."""
    return max(min_interval_s, min(interval_s + min_interval_s, MAX_QUEUE_POLL_INTERVAL_S))


def _import_run_table() -> Any:
    """Its module: rich takes as long to load as all of jobs/, and piped lines need none of it."""
    from jobs.display import run_table  # noqa: PLC0415

    return run_table
