"""What a run folder says now: state, rows, hypotheses, the epoch chosen on the dev split.

In:   a run of a sweep, at any time: not begun, running, failed, damaged.   Out: `Reading`.
Not here: tables (table.py), asking a scheduler (jobs/status.py).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pipeline.config.experiment import Experiment
from pipeline.runs import plateau
from pipeline.runs.folder import Heartbeat, Hypothesis, RunFolder, Usage
from pipeline.runs.records import HEARTBEAT_TIMEOUT_S
from pipeline.runs.rows import Row
from pipeline.runs.state import RunFolderState, _single_line, state_from_files

RunSummaryState = Literal["missing"] | RunFolderState

FileContent = TypeVar("FileContent")


@dataclass(frozen=True)
class SweepRun:
    """One run as a sweep knows it."""

    label: str
    settings: dict[str, Any]  # swept dotted keys -> values
    folder: RunFolder


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    run: SweepRun
    state: RunSummaryState = "missing"
    cause: str = ""  # of failed, and of some stopped: a short phrase
    message: str = ""  # one line
    rows: Sequence[Row] = ()
    hypotheses: Sequence[Hypothesis] = ()
    heartbeat: Heartbeat | None = None
    experiment: Experiment | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    usages: Sequence[Usage] = ()

    @property
    def run_id(self) -> str:
        return self.run.folder.run_id

    def rows_for(self, split: str) -> list[Row]:
        return [row for row in self.rows if row["split"] == split]

    def hypotheses_for(self, split: str) -> list[Hypothesis]:
        return [hypothesis for hypothesis in self.hypotheses if hypothesis.split == split]

    @property
    def test_row(self) -> Row | None:
        return next(iter(self.rows_for("test")), None)

    @property
    def selected_dev_row(self) -> Row | None:
        """The dev row of the epoch that the test split was heard with; the best so far before."""
        dev = self.rows_for("dev")
        if test := self.test_row:
            dev = [row for row in dev if row["epoch"] == test["epoch"]]
        return min(dev, key=plateau.selection_key, default=None)

    @property
    def escape_updates(self) -> int | None:
        return plateau.escape_updates(self.rows)

    def setting(self, dotted: str) -> Any:
        """A swept value; where the sweep leaves it to the base, the resolved experiment's."""
        if dotted in self.run.settings:
            return self.run.settings[dotted]
        value: Any = self.experiment
        for name in dotted.split("."):
            value = getattr(value, name, None)
        return value


def swept_keys(runs: Sequence[SweepRun]) -> list[str]:
    """In the order in which the sweep names them."""
    return list(dict.fromkeys(key for run in runs for key in run.settings))


def read_run(run: SweepRun, now: float | None = None) -> RunSummary:
    """Whatever can be read is kept; a damaged file makes the run a failed one."""
    folder = run.folder
    if not folder.path.is_dir():
        return RunSummary(run=run)
    damage: list[str] = []

    def part(name: str, reader: Callable[[], FileContent], otherwise: FileContent) -> FileContent:
        try:
            return reader()
        except FileNotFoundError:
            return otherwise
        except (ValueError, KeyError, TypeError, OSError) as error:
            damage.append(f"{folder.path / name} cannot be read: {error}")
            return otherwise

    heartbeat = part("heartbeat.json", folder.heartbeat, None)
    failure = part("failure.json", folder.failure, None)
    rows: Sequence[Row] = part("rows.jsonl", folder.rows, [])
    hypotheses: Sequence[Hypothesis] = part("hypotheses.csv", folder.hypotheses, [])
    experiment = part("experiment.yaml", folder.experiment, None)
    nothing: dict[str, Any] = {}
    environment = part("environment.json", folder.environment, nothing)
    silence = (time.time() if now is None else now) - (heartbeat.time if heartbeat else 0)
    state: RunSummaryState
    state, cause, message = state_from_files(
        heartbeat, failure, process_alive=silence <= HEARTBEAT_TIMEOUT_S
    )
    if changed := folder.integrity_error(heartbeat):
        damage.append(changed)
    if damage:
        state, cause, message = "failed", "damaged file", _single_line(damage[0])
    return RunSummary(
        run=run,
        state=state,
        cause=cause,
        message=message,
        rows=rows,
        hypotheses=hypotheses,
        heartbeat=heartbeat,
        experiment=experiment,
        environment=environment,
        usages=folder.usages(),
    )
