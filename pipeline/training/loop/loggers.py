"""Tracking: what a run tells the programs that people compare runs with.

In:   a run's rows after each epoch; BLANKSLATE_TRACKERS in the environment: wandb, mlflow or both.
Out:  TensorBoard's file in the run folder, always; W&B and MLflow where asked for and installed.
Not here: the bytes of TensorBoard's file (tensorboard.py).

No answer depends on a tracker, so no setting of an experiment names one. W&B stays offline unless
WANDB_MODE says otherwise, MLflow writes into the work folder unless MLFLOW_TRACKING_URI does. A
tracker that fails is told of in the log, and the run goes on without it.
"""

import importlib
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from pipeline.config.experiment import Experiment
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder
from pipeline.runs.rows import Row
from pipeline.training.loop import tensorboard

LOGGERS_VARIABLE = "BLANKSLATE_TRACKERS"
LOGGER_PROJECT = "blankslate"

RowLogger = Callable[[Sequence[Row]], None]  # takes all rows so far

log = logging.getLogger(__name__)


class RunLoggers:
    """Every tracker of one run. The first `known` rows have been told, maybe more of them.

    Rows are told before they are saved: a process killed in between makes the next tell them again.
    """

    def __init__(self, run: RunFolder, experiment: Experiment, logged_rows: int) -> None:
        self._loggers: dict[str, RowLogger] = {
            "TensorBoard": partial(tensorboard.write_events, run.events_file)
        }
        for name in requested_loggers():
            self._call_safely(name, partial(self._start_logger, name, run, experiment, logged_rows))

    def log_rows(self, rows: Sequence[Row]) -> None:
        for name, tracker in list(self._loggers.items()):
            self._call_safely(name, partial(tracker, rows))

    def _start_logger(
        self, name: str, run: RunFolder, experiment: Experiment, logged_rows: int
    ) -> None:
        self._loggers[name] = _LOGGER_FACTORIES[name](run, experiment, logged_rows)

    def _call_safely(self, name: str, act: Callable[[], None]) -> None:
        """Programs of others, in versions that nobody here has seen: whatever they raise."""
        try:
            act()
        except ImportError as error:
            log.warning(
                "%s: is not installed, and was asked for by %s: %s", name, LOGGERS_VARIABLE, error
            )
        except Exception as error:
            self._loggers.pop(name, None)
            what = f"{type(error).__name__}: {error}"
            log.warning("%s: %s; the run goes on without it", name, what)


def requested_loggers() -> list[str]:
    names = os.environ.get(LOGGERS_VARIABLE, "").replace(",", " ").split()
    for name in names:
        if name not in _LOGGER_FACTORIES:
            raise InputError(
                f"{LOGGERS_VARIABLE}: {name!r} — choose among {', '.join(_LOGGER_FACTORIES)}"
            )
    return names


def _start_wandb(run: RunFolder, experiment: Experiment, logged_rows: int) -> RowLogger:
    """A run that resumes goes on under the same id."""
    session = importlib.import_module("wandb").init(
        project=LOGGER_PROJECT,
        id=run.run_id,
        dir=str(run.path),
        mode=os.environ.get("WANDB_MODE", "offline"),
        resume="allow",
        reinit="finish_previous",  # one process has many runs; W&B would go on with the first
        config=experiment.model_dump(mode="json"),
    )

    def tell(row: Row) -> None:
        if row["split"] == "test":  # of the best epoch, an earlier step: W&B would ignore it
            session.summary.update(_prefixed_metrics(row))
        else:
            session.log(_prefixed_metrics(row), step=row["updates"])

    return _log_new_rows(logged_rows, tell)


def _start_mlflow(run: RunFolder, experiment: Experiment, logged_rows: int) -> RowLogger:
    mlflow = importlib.import_module("mlflow")
    beside = run.path.parent.parent / "mlflow.db"  # in the work folder
    client = mlflow.MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{beside}"))
    if client.get_experiment_by_name(LOGGER_PROJECT) is None:
        with suppress(mlflow.exceptions.MlflowException):  # another run has made it meanwhile
            client.create_experiment(LOGGER_PROJECT)
    home = client.get_experiment_by_name(LOGGER_PROJECT).experiment_id
    found = client.search_runs([home], f"tags.run_id = '{run.run_id}'")
    if found:
        identity = found[0].info.run_id
    else:
        made = client.create_run(home, run_name=run.run_id, tags={"run_id": run.run_id})
        identity = made.info.run_id
        for key, value in _flatten(experiment.model_dump(mode="json")):
            client.log_param(identity, key, value)

    def tell(row: Row) -> None:
        for name, value in _prefixed_metrics(row).items():
            client.log_metric(identity, name.replace(" ", "_"), value, step=row["updates"])

    return _log_new_rows(logged_rows, tell)


_LOGGER_FACTORIES: dict[str, Callable[[RunFolder, Experiment, int], RowLogger]] = {
    "wandb": _start_wandb,
    "mlflow": _start_mlflow,
}


def _log_new_rows(logged_rows: int, log_row: Callable[[Row], None]) -> RowLogger:
    """Tell each row once."""
    told = logged_rows

    def follow(rows: Sequence[Row]) -> None:
        nonlocal told
        for row in rows[told:]:
            log_row(row)
        told = max(told, len(rows))

    return follow


def _prefixed_metrics(row: Row) -> dict[str, float]:
    """`dev/cer` and its like: numbers only."""
    return {
        f"{row['split']}/{name}": float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and not math.isnan(value)
    }


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in settings.items():
        inner = isinstance(value, Mapping)
        found += _flatten(value, f"{prefix}{key}.") if inner else [(prefix + key, value)]
    return found
