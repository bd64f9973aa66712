"""Run summary: what a run folder holds now: state, rows, hypotheses, the selected epoch.

In:   a run of a sweep in any state: missing, waiting, running, failed, damaged.
Out:  `RunSummary`.
Not here: tables (table.py), what the scheduler knows of a run (jobs/sweep/run_status.py).
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from pipeline.config.experiment import Experiment
from pipeline.host import available_cpus
from pipeline.results.summary.hypothesis_table import (
    Hypotheses,
    HypothesisTable,
    defer_hypothesis_table,
    read_hypothesis_table,
)
from pipeline.results.summary.machine_paths import hide_folders
from pipeline.results.summary.row_table import RowTable, SharedColumns, read_row_table
from pipeline.results.summary.shared_experiments import SharedExperiments
from pipeline.runs import plateau
from pipeline.runs.folder import Failure, Heartbeat, RunFolder, Usage
from pipeline.runs.records import HEARTBEAT_TIMEOUT_S, read_environments
from pipeline.runs.rows import Row
from pipeline.runs.state import DAMAGED_FILE, RunFolderState, read_early_stop, state_from_files

RunSummaryState = Literal["missing"] | RunFolderState

FileContent = TypeVar("FileContent")

READ_ERRORS = (ValueError, KeyError, TypeError, OverflowError, OSError)  # of a damaged file


@dataclass(frozen=True)
class SweepRun:
    """A run as its sweep defines it."""

    label: str
    settings: dict[str, Any]  # swept dotted keys -> values
    folder: RunFolder
    features: Path | None = None  # the folder of its feature set
    sweep: str = ""  # name; several names, separated by spaces, if each sweep has the run
    changes: dict[str, Any] = field(default_factory=dict)  # made by SET: dotted keys -> values


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    run: SweepRun
    state: RunSummaryState = "missing"
    cause: str = ""  # a short phrase, if the run failed or was killed
    message: str = ""  # one line
    rows: Sequence[Row] = ()
    hypotheses: Hypotheses = ()
    heartbeat: Heartbeat | None = None
    experiment: Experiment | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    environments: Sequence[dict[str, Any]] = ()  # of each attempt; the last one is `environment`
    usages: Sequence[Usage] = ()

    @property
    def run_id(self) -> str:
        return self.run.folder.run_id

    @cached_property
    def row_table(self) -> RowTable:
        return RowTable.of(self.rows)

    def rows_for(self, split: str) -> RowTable:
        return self.row_table.split(split)

    @cached_property
    def hypothesis_table(self) -> HypothesisTable:
        return HypothesisTable.of(self.hypotheses)

    def hypotheses_for(self, split: str) -> HypothesisTable:
        return self.hypothesis_table.split(split)

    @cached_property
    def test_row(self) -> Row | None:
        return next(iter(self.rows_for("test")), None)

    @cached_property
    def selected_dev_row(self) -> Row | None:
        """Dev row of the weights that test was decoded with; before that, the best row so far."""
        dev: Sequence[Row] = self.rows_for("dev")
        if test := self.test_row:
            rows = self.rows_for("dev")
            same = rows.column("epoch") == test["epoch"]
            tested = np.flatnonzero(same & (rows.column("weights") == test["weights"]))
            dev = [dev[place] for place in tested.tolist()]
        return min(dev, key=plateau.selection_key, default=None)

    @cached_property
    def escape_updates(self) -> int | None:
        return plateau.escape_updates(self.rows_for("dev"))

    @cached_property
    def settings_without_seed(self) -> str:
        """All settings but the seed, as text: the same for the runs of an arm."""
        return self.experiment.without_seed.model_dump_json() if self.experiment else ""

    @property
    def corpus(self) -> str | None:
        """The name of the corpus; None if experiment.yaml cannot be read."""
        return self.experiment.corpus.name if self.experiment else None

    @property
    def units(self) -> str:
        """What the rates called cer count: characters or phonemes."""
        return self.experiment.corpus.units if self.experiment else "characters"

    @property
    def rate_name(self) -> str:
        return self.experiment.corpus.rate_name if self.experiment else "CER"

    def setting(self, dotted: str) -> Any:
        """Return the value of the sweep or, if the sweep does not set it, of the experiment."""
        if dotted in self.run.settings:
            return self.run.settings[dotted]
        value: Any = self.experiment
        for name in dotted.split("."):
            value = getattr(value, name, None)
        return value


@dataclass(frozen=True)
class Shared:
    """What several runs have in common; it is in memory, or parsed, once."""

    columns: SharedColumns = field(default_factory=SharedColumns)  # of rows
    hypotheses: SharedColumns = field(default_factory=SharedColumns)
    experiments: SharedExperiments = field(default_factory=SharedExperiments)


def join_rate_names(runs: Sequence[RunSummary]) -> str:
    """Return CER or PER; both, if the corpora of the runs have other units."""
    return " or ".join(dict.fromkeys(run.rate_name for run in runs)) or "CER"


def join_units(runs: Sequence[RunSummary]) -> str:
    """Return character or phoneme; both, if the corpora of the runs have other units."""
    return " or ".join(dict.fromkeys(run.units.removesuffix("s") for run in runs)) or "character"


def dev_selection_key(run: RunSummary) -> tuple[float, float]:
    """Return the key of the run's selected epoch: one rule selects epochs and runs."""
    row = run.selected_dev_row
    return plateau.selection_key(row) if row else (math.inf, math.inf)


def changed_keys(runs: Sequence[SweepRun]) -> list[str]:
    """Return the dotted keys of all settings that a sweep or SET changes, in its order.

    Without the corpus, whose name is a column of every table.
    """
    keys = dict.fromkeys(key for run in runs for key in (*run.settings, *run.changes))
    return [key for key in keys if key != "corpus"]


def read_runs(
    runs: Sequence[SweepRun], now: float | None = None, *, defer_hypotheses: bool = False
) -> list[RunSummary]:
    """Read run folders on all CPUs: parsing tables and checksums do not hold Python's lock.

    With `defer_hypotheses`, `read_deferred_hypotheses` must be called before anything needs them.
    """
    shared = Shared()
    # One thread more than CPUs: often one waits for the lock.
    with ThreadPoolExecutor(available_cpus() + 1) as pool:
        read = partial(read_run, now=now, shared=shared, defer=defer_hypotheses)
        return list(pool.map(read, runs))


def read_deferred_hypotheses(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """Read the hypotheses that `read_runs` left out, on all CPUs; return the runs with them.

    A run whose file cannot be read, or has changed since its checksum was verified, is a failed
    one.
    """
    with ThreadPoolExecutor(available_cpus()) as pool:
        return list(pool.map(_read_deferred, runs))


def _read_deferred(run: RunSummary) -> RunSummary:
    folder = run.run.folder
    try:
        len(run.hypotheses)
        # After the file was read: what was read has the right checksum.
        problem = folder.integrity_error(run.heartbeat) if run.state == "finished" else ""
    except READ_ERRORS as error:
        problem = _read_error(folder.hypotheses_file, error)
    if not problem:
        return run
    if run.state == "failed":  # for another reason, which is known already
        return replace(run, hypotheses=())
    message = hide_folders(problem)
    return replace(run, state="failed", cause=DAMAGED_FILE, message=message, hypotheses=())


def _read_error(file: Path, error: Exception) -> str:
    return f"{file} cannot be read: {error}"


def read_run(
    run: SweepRun, now: float | None = None, shared: Shared | None = None, *, defer: bool = False
) -> RunSummary:
    """Read the run folder as it is at `now` (seconds since 1970).

    A damaged file makes the run a failed one; everything else is still read. `shared`: of others;
    `defer`: the hypotheses of a finished run with the right checksum are not read yet.
    """
    folder = run.folder
    if not folder.path.is_dir():
        return RunSummary(run=run)
    shared, damage = shared or Shared(), list[str]()

    def read(name: str, reader: Callable[[], FileContent], default: FileContent) -> FileContent:
        try:
            return reader()
        except FileNotFoundError:
            return default
        except READ_ERRORS as error:
            damage.append(_read_error(folder.path / name, error))
            return default

    heartbeat = read("heartbeat.json", folder.heartbeat, None)
    failure = read("failure.json", folder.failure, None)
    rows: Sequence[Row] = read("rows.jsonl", lambda: read_row_table(folder, shared.columns), ())
    changed = folder.integrity_error(heartbeat)
    deferred = defer and heartbeat and heartbeat.status == "finished" and not changed
    read_table = defer_hypothesis_table if deferred else read_hypothesis_table
    hypotheses: Hypotheses = read(
        "hypotheses.csv", lambda: read_table(folder, shared.hypotheses), ()
    )
    experiment = read("experiment.yaml", lambda: shared.experiments.read(folder), None)
    environment: dict[str, Any] = read("environment.json", folder.environment, {})
    problem = damage[0] if damage else changed
    state, cause, message = _find_state(folder, heartbeat, failure, now, problem)
    return RunSummary(
        run=run,
        state=state,
        cause=cause,
        message=hide_folders(message),
        rows=rows,
        hypotheses=hypotheses,
        heartbeat=heartbeat,
        experiment=experiment,
        environment=environment,
        environments=read_environments(folder.path),
        usages=folder.usages(),
    )


def _find_state(
    folder: RunFolder,
    heartbeat: Heartbeat | None,
    failure: Failure | None,
    now: float | None,
    damage: str,
) -> tuple[RunSummaryState, str, str]:
    silence = (time.time() if now is None else now) - (heartbeat.time if heartbeat else 0)
    return state_from_files(
        heartbeat,
        failure,
        read_early_stop(folder),
        process_alive=silence <= HEARTBEAT_TIMEOUT_S,
        damage=damage,
    )
