"""Loggers: send a run's rows to TensorBoard, Weights & Biases and MLflow.

In:   a run's rows after each epoch; BLANKSLATE_TRACKERS in the environment: wandb, mlflow or both.
Out:  TensorBoard's event file in the run folder, always; W&B and MLflow where they are requested.
Not here: the rows (metrics.py) and the file that holds them (pipeline/runs/folder.py).

Logging does not change any result, so no setting of an experiment names a logger. W&B stays offline
unless WANDB_MODE says otherwise. MLflow writes into the work folder unless MLFLOW_TRACKING_URI is
set. If a logger fails, the log has a warning and the run continues without it.
"""

import importlib
import logging
import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from tensorboardX import SummaryWriter

from pipeline.config.experiment import Experiment
from pipeline.config.loader import flatten
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder
from pipeline.runs.rows import Row

LOGGERS_VARIABLE = "BLANKSLATE_TRACKERS"
LOGGER_PROJECT = "blankslate"
FLUSH_INTERVAL_S = 10  # at most this long after an epoch, TensorBoard can read its row

RowLogger = Callable[[Sequence[Row]], None]  # takes all rows so far

log = logging.getLogger(__name__)


class RunLoggers:
    """All loggers of one run.

    Rows are logged before the state that contains them is saved, so the first `logged_rows` rows,
    those of the saved state, are certainly logged. A process that is killed between the two makes
    the next one log some rows again.
    """

    def __init__(self, run: RunFolder, experiment: Experiment, logged_rows: int) -> None:
        self._folder = run.path
        self._tensorboard: SummaryWriter | None = None
        # TensorBoard gets all rows from each process: its event file starts with `purge_step`.
        self._loggers: dict[str, RowLogger] = {
            "TensorBoard": _log_new_rows(0, self._log_tensorboard_row)
        }
        for name in requested_loggers():
            self._call_safely(name, partial(self._start_logger, name, run, experiment, logged_rows))

    def log_rows(self, rows: Sequence[Row]) -> None:
        for name, logger in list(self._loggers.items()):
            self._call_safely(name, partial(logger, rows))

    def close(self) -> None:
        """Write what TensorBoard's queue still holds, and end its thread."""
        if self._tensorboard is not None:
            self._call_safely("TensorBoard", self._tensorboard.close)

    def _start_logger(
        self, name: str, run: RunFolder, experiment: Experiment, logged_rows: int
    ) -> None:
        self._loggers[name] = _LOGGER_FACTORIES[name](run, experiment, logged_rows)

    def _log_tensorboard_row(self, row: Row) -> None:
        if self._tensorboard is None:
            self._tensorboard = SummaryWriter(
                str(self._folder),
                # TensorBoard then hides what the files of earlier processes hold, so that no step
                # of a resumed run appears twice.
                purge_step=0,
                # No limit: if the writer's thread dies, for example because the disk is full, a
                # full queue would block training for ever.
                max_queue=0,
                flush_secs=FLUSH_INTERVAL_S,
            )
        for name, value in _metrics(row).items():
            # Tags such as cer/dev: TensorBoard then shows the splits of one metric side by side.
            self._tensorboard.add_scalar(f"{name}/{row['split']}", value, row["updates"])

    def _call_safely(self, name: str, act: Callable[[], None]) -> None:
        """Call another program's code, of an unknown version; any exception becomes a warning."""
        try:
            act()
        except ImportError as error:
            log.warning(
                "%s is not installed, but %s requests it: %s", name, LOGGERS_VARIABLE, error
            )
        except Exception as error:
            self._loggers.pop(name, None)
            reason = f"{type(error).__name__}: {error}"
            log.warning("%s failed: %s; the run continues without it", name, reason)


def requested_loggers() -> list[str]:
    """Return the names in BLANKSLATE_TRACKERS; InputError for an unknown one."""
    names = os.environ.get(LOGGERS_VARIABLE, "").replace(",", " ").split()
    for name in names:
        if name not in _LOGGER_FACTORIES:
            raise InputError(
                f"{LOGGERS_VARIABLE}: unknown logger {name!r}; "
                f"use {' or '.join(_LOGGER_FACTORIES)}, or both"
            )
    return names


def _start_wandb(run: RunFolder, experiment: Experiment, logged_rows: int) -> RowLogger:
    """Start a W&B session; a resumed run continues under the same id."""
    session = importlib.import_module("wandb").init(
        project=LOGGER_PROJECT,
        id=run.run_id,
        dir=str(run.path),
        mode=os.environ.get("WANDB_MODE", "offline"),
        resume="allow",
        reinit="finish_previous",  # else a second run of this process would continue the first
        config=experiment.model_dump(mode="json"),
    )

    def log_row(row: Row) -> None:
        if row["split"] == "test":  # its step is that of the best epoch; W&B ignores earlier steps
            session.summary.update(_prefixed_metrics(row))
        else:
            session.log(_prefixed_metrics(row), step=row["updates"])

    return _log_new_rows(logged_rows, log_row)


def _start_mlflow(run: RunFolder, experiment: Experiment, logged_rows: int) -> RowLogger:
    mlflow = importlib.import_module("mlflow")
    database = run.path.parent.parent / "mlflow.db"  # in the work folder
    client = mlflow.MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{database}"))
    if client.get_experiment_by_name(LOGGER_PROJECT) is None:
        with suppress(mlflow.exceptions.MlflowException):  # another run has just created it
            client.create_experiment(LOGGER_PROJECT)
    experiment_id = client.get_experiment_by_name(LOGGER_PROJECT).experiment_id
    found = client.search_runs([experiment_id], f"tags.run_id = '{run.run_id}'")
    if found:
        mlflow_run_id = found[0].info.run_id
    else:
        made = client.create_run(experiment_id, run_name=run.run_id, tags={"run_id": run.run_id})
        mlflow_run_id = made.info.run_id
        for key, value in flatten(experiment.model_dump(mode="json")):
            client.log_param(mlflow_run_id, key, value)

    def log_row(row: Row) -> None:
        for name, value in _prefixed_metrics(row).items():
            client.log_metric(mlflow_run_id, name.replace(" ", "_"), value, step=row["updates"])

    return _log_new_rows(logged_rows, log_row)


_LOGGER_FACTORIES: dict[str, Callable[[RunFolder, Experiment, int], RowLogger]] = {
    "wandb": _start_wandb,
    "mlflow": _start_mlflow,
}


def _log_new_rows(logged_rows: int, log_row: Callable[[Row], None]) -> RowLogger:
    """Return a logger that passes each row once, after the first `logged_rows` rows."""
    logged = logged_rows

    def log_rows(rows: Sequence[Row]) -> None:
        nonlocal logged
        for row in rows[logged:]:
            log_row(row)
        logged = max(logged, len(rows))

    return log_rows


def _metrics(row: Row) -> dict[str, float]:
    """Return the numbers of a row that were measured."""
    return {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and not math.isnan(value)
    }


def _prefixed_metrics(row: Row) -> dict[str, float]:
    """Return the numbers of a row under names such as dev/cer."""
    return {f"{row['split']}/{name}": value for name, value in _metrics(row).items()}
