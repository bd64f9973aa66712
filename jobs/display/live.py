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
from jobs.display.run_lines import account_lines, epoch_line, event_line
from jobs.messages import console, in_terminal, say
from jobs.sweep import feature_status, job_queue, queue_cache, run_status
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.record import Wanted
from jobs.sweep.run_status import LIVE, RunStatus
from pipeline.files import InputError
from pipeline.runs.rows import Row

SECONDS_BETWEEN_PICTURES = 0.5
SECONDS_BETWEEN_LINES = 5.0  # of one run, or of the features
SECONDS_BETWEEN_FILES = 2.0
MOST_SECONDS_BETWEEN_QUESTIONS = 180.0  # unless the profile wants more


class Watcher:
    """What a person sees while this machine works on a sweep."""

    def __init__(self, wanted: Wanted, folder: SweepFolder, queue: Queue, *, runs: bool) -> None:
        self._wanted = wanted if runs else replace(wanted, runs=())
        self._folder = folder
        self._queue = queue  # as it was at the beginning
        self._live = _picture().live() if in_terminal() else None
        self._next = 0.0
        self._told: dict[str, tuple[str, int]] = {}  # run -> its state and its epoch, as last told
        # run -> time and size of its rows' file, and what that said
        self._read: dict[str, tuple[tuple[int, int], tuple[Row, Row] | None]] = {}
        self._when: dict[str, float] = {}
        self._features_told = time.monotonic()
        self._alone = self._folder.run(wanted.runs[0].run_id) if len(wanted.runs) == 1 else None
        self._account = self._alone.account() if self._alone else None  # of before

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
        self._next = 0.0
        self.look()
        if self._live:
            self._live.stop()

    def look(self, features: Callable[[], str] = lambda: "") -> None:
        """`features` says how far they are, while they are computed."""
        if time.monotonic() < self._next:
            return
        began = time.monotonic()
        statuses = run_status.survey(self._wanted, self._folder, self._queue)
        if self._live:
            shown = _picture().overview(statuses, (), features())
            self._live.update(shown, refresh=True)
        else:
            for run in statuses:
                self._tell(run)
            self._tell_features(features)
        self._tell_epoch()
        # Of a thousand runs, looking must not be the work.
        spent = time.monotonic() - began
        self._next = time.monotonic() + max(SECONDS_BETWEEN_PICTURES, 10 * spent)

    def _tell_epoch(self) -> None:
        """Of one run alone: where it stands, and what it hears by now."""
        account = self._alone.account() if self._alone else None
        if account and account != self._account:
            self._account = account
            for line in account_lines(account):
                say(line)

    def _tell_features(self, features: Callable[[], str]) -> None:
        if time.monotonic() - self._features_told > SECONDS_BETWEEN_LINES and (line := features()):
            self._features_told = time.monotonic()
            say(line)

    def _tell(self, run: RunStatus) -> None:
        """A line when a run starts or ends, for its last epoch, and for others after a silence."""
        beat, state = run.heartbeat, str(run.state)
        if self._alone and beat and beat.doing:
            state = f"{state}, {beat.doing}"
        was, told = self._told.get(run.run_id, ("", 0))
        if state == was == "finished":
            return
        ended = self._ended(run.run_id)
        epoch = ended[1]["epoch"] if ended else 0
        if not was:
            self._told[run.run_id] = state, epoch
            return
        lines = [event_line(run, told)] if state != was else []
        silent = time.monotonic() - self._when.get(run.run_id, 0.0)
        patience = 0.0 if self._alone else SECONDS_BETWEEN_LINES
        if ended and epoch > told and (lines or silent > patience):
            lines.insert(len(lines) if run.state == "running" else 0, epoch_line(run, *ended))
            told = epoch
        for line in lines:
            self._when[run.run_id] = time.monotonic()
            say(line)
        self._told[run.run_id] = state, told

    def _ended(self, run_id: str) -> tuple[Row, Row] | None:
        """The train and the dev row of the last epoch that has ended."""
        folder = self._folder.run(run_id)
        try:
            facts = folder.rows_file.stat()
            seen = facts.st_mtime_ns, facts.st_size
            if self._read.get(run_id, (None, None))[0] != seen:
                self._read[run_id] = seen, _last_epoch(folder.rows())
        except (OSError, InputError):  # not there yet, or damaged, which the run's end will tell
            return None
        return self._read[run_id][1]


def _last_epoch(rows: Sequence[Row]) -> tuple[Row, Row] | None:
    trained = [row for row in rows if row["split"] == "train"]
    scored = [row for row in rows if row["split"] == "dev"]
    return (trained[-1], scored[-1]) if trained and scored else None


@contextmanager
def telling(first: str) -> Iterator[Callable[[str], None]]:
    """What the block is at: a line that changes in a terminal, else one now and then."""
    if in_terminal():
        with console().status(first) as shown:
            yield shown.update
        return
    told = time.monotonic()

    def tell(line: str) -> None:
        nonlocal told
        if time.monotonic() - told > SECONDS_BETWEEN_LINES:
            told = time.monotonic()
            say(line)

    yield tell


def watch(wanted: Wanted, folder: SweepFolder, least: float, *, once: bool) -> None:
    """Show the state until nothing is queued or running any more.

    `least`: seconds between two questions to the scheduler.
    """
    picture = _picture()

    def look() -> tuple[Any, list[str]]:
        runs = run_status.survey(wanted, folder, queue)
        run_status.keep(runs, folder)
        features = feature_status.survey(wanted, folder)
        missing = [item for each in features for item in each.missing]
        ended = feature_status.endings(missing, folder, queue) if missing else {}
        notes = [
            *feature_progress.of_jobs(wanted, folder, features),
            *feature_status.lines(list(ended.values())),
        ]
        note = "\n".join([*notes, queue.complaint]).strip()
        shown = picture.overview(runs, features, note)
        return shown, [run.state for run in runs]

    queue = queue_cache.recent(folder, job_queue.unfinished(wanted, folder), least)
    asked, patience = time.monotonic(), least
    shown, states = look()
    if once or not in_terminal():
        console().print(shown)
        return
    with picture.live(shown) as screen:
        while LIVE.intersection(states):
            time.sleep(SECONDS_BETWEEN_FILES)
            before = states
            if time.monotonic() - asked > patience:
                queue = queue_cache.ask(folder, job_queue.unfinished(wanted, folder))
                asked = time.monotonic()
                patience = longer(patience, least)
            shown, states = look()
            if states != before:
                patience = least
            screen.update(shown, refresh=True)


def longer(patience: float, least: float) -> float:
    """Each time that nothing has changed."""
    return max(least, min(patience + least, MOST_SECONDS_BETWEEN_QUESTIONS))


def _picture() -> Any:
    """Its module: rich takes as long to load as all of jobs/, and piped lines need none of it."""
    from jobs.display import run_table  # noqa: PLC0415

    return run_table
