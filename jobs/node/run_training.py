"""Training of one run: it is locked, trained and measured; a failure is recorded in its folder.

In:   a run folder, its features, the resources of the run.   Out: rows and state; an exit code.
Not here: the runs of a job (training_task.py), the loop (pipeline/training/loop/fit.py).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jobs import code_snapshot
from jobs.exit_codes import DISK_FULL, DONE, FAILED, STOPPED
from jobs.imports import quick_imports
from jobs.node import folder_lock
from jobs.node.failures import MissingFeaturesError, make_failure
from jobs.node.folder_lock import FolderLock, LockHeld
from jobs.node.signals import StopRequest
from jobs.node.usage import Allocation, UsageMonitor
from jobs.profile_fields import Device, Workers
from jobs.slurm.client import current_job_id
from pipeline.corpus.manifest import require_no_refusals
from pipeline.files import InputError
from pipeline.host import available_cpus
from pipeline.runs import early_stop
from pipeline.runs.decodings import MODEL_FILE
from pipeline.runs.early_stop import StoppedEarly, SweepStopRules
from pipeline.runs.folder import Heartbeat, RunFolder, Stopped
from pipeline.runs.rows import Row
from pipeline.runs.state import clear_early_stop, write_early_stop

# Size of rows.jsonl, after about 35 epochs. A copy of fewer rows would save a report a millisecond.
MAX_BYTES_WITHOUT_COLUMNS = 100_000
MAX_AUTO_WORKERS = 2  # reader processes per run

FitFunction = Callable[[Callable[[], bool]], None]  # trains until its argument returns True


class RunResources(NamedTuple):
    """What a run may use on its node. Results depend on it only by rounding."""

    device: Device
    threads: int
    workers: Workers = "auto"
    resident_gb: float | None = None

    def num_workers(self, *, gpu: bool) -> int:
        """Return the number of processes that read the run's features.

        "auto" is 0 without a GPU: a thread of the run reads ten times as fast as a process can
        hand over, and a process would take the training's CPU time. With a GPU the CPUs are idle,
        and processes leave the thread that launches the GPU's kernels free.
        """
        if isinstance(self.workers, int):
            return self.workers
        if self.workers != "auto":
            return int(self.workers.split()[0]) * self.threads
        return min(MAX_AUTO_WORKERS, available_cpus() - 1) if gpu else 0


def train_run(
    folder: RunFolder,
    features: Path,
    resources: RunResources,
    allocation: Allocation,
    stop: StopRequest,
    *,
    early_stop_file: Path | None = None,
) -> int:
    """Train a run, or continue it; return DONE, FAILED, or STOPPED if `stop` was set.

    DISK_FULL if a file of the run could not be written. DONE also if the run is finished or stopped
    early, or another process trains it. FAILED also if it failed before its job was requeued: only
    a new submission clears a failure.
    """
    if stop():
        return STOPPED
    if folder.finished:
        return DONE
    failure = folder.failure()
    if failure and not failure.job:
        return FAILED
    # A status command may have recorded the earlier job's failure again after the submission.
    folder.clear_failure()
    rules = _read_rules(early_stop_file)
    if early_stop.is_stopped_early(folder, rules.rules if rules else None):
        return DONE
    clear_early_stop(folder)
    fit = partial(_fit_monitored, folder, features, resources, allocation, rules=rules)
    code = DONE
    with _log_to_run_file(folder) as log:
        try:
            with folder_lock.acquire(folder.path, stop) as lock:
                if not folder.finished:  # the former owner may have finished it
                    code = _train_and_record(folder, fit, stop, lock, log)
        except LockHeld as held:
            owner = held.owner
            log.info("left to process %d on %s, which trains this run", owner.pid, owner.host)
            return STOPPED if stop() else DONE
        if folder.finished:
            folder_lock.cleanup(folder.path)
    return code


def _train_and_record(
    folder: RunFolder, fit: FitFunction, stop: StopRequest, lock: FolderLock, log: logging.Logger
) -> int:
    try:
        # Importing torch takes seconds, so others see this process before the first real heartbeat.
        folder_lock.write_heartbeat_status(folder, "running")
        fit(lambda: stop() or lock.lost)
    except Stopped:
        if lock.lost:
            log.warning(
                "stopped: this process did not refresh its lock in time, and another has it"
            )
            return DONE
        log.info("stopped at a step boundary, state saved; run the same command again to continue")
        return STOPPED
    except StoppedEarly as stopped:
        log.info("stopped early: %s", stopped)
        write_early_stop(folder, stopped.stop)
        folder_lock.write_heartbeat_status(folder, "stopped")
    except Exception as error:
        failure = make_failure(error)
        log.error("%s: %s\n%s", failure.cause, failure.message, failure.traceback)
        folder.write_failure(failure)
        # The process may need a while to exit; until then its pid looks like a run in training.
        folder_lock.write_heartbeat_status(folder, "stopped")
        is_full = failure.cause == "disk full" and str(folder.path) in failure.message
        return DISK_FULL if is_full else FAILED
    return DONE


def _fit_monitored(
    folder: RunFolder,
    features: Path,
    resources: RunResources,
    allocation: Allocation,
    stop: Callable[[], bool],
    *,
    rules: SweepStopRules | None,
) -> None:
    with UsageMonitor(folder, allocation):
        _fit(folder, features, resources, stop, rules)


def _fit(
    folder: RunFolder,
    features: Path,
    resources: RunResources,
    stop: Callable[[], bool],
    rules: SweepStopRules | None = None,
) -> None:
    # Only here: a login node imports this module, and must not load torch.
    with quick_imports():
        from pipeline.features.feature_set import FeatureSet  # noqa: PLC0415
        from pipeline.training.loop.devices import gpu_names  # noqa: PLC0415
        from pipeline.training.loop.fit import fit  # noqa: PLC0415
        from pipeline.training.trained.decode_run import decode_run  # noqa: PLC0415
        from pipeline.training.trained.recogniser import Recogniser  # noqa: PLC0415

    try:
        feature_set = FeatureSet.open(features)
        feature_set.verify()  # a flipped bit must not change a result; training reads it all anyway
    except InputError as error:
        raise MissingFeaturesError(str(error)) from None
    experiment = folder.experiment()
    if experiment.corpus.strict:
        require_no_refusals(experiment.corpus.name, feature_set.refusals)
    code_snapshot.copy_patch(folder.path)
    fit(
        experiment,
        feature_set,
        folder,
        provenance=code_snapshot.read_provenance() | {"job": current_job_id()},
        device=resources.device,
        threads=resources.threads,
        workers=resources.num_workers(gpu=resources.device != "cpu" and bool(gpu_names())),
        resident_gb=resources.resident_gb,
        should_stop=stop,
        on_heartbeat=_heartbeat_writer(folder),
        before_epoch=partial(_stop_early, folder, rules),
    )
    Recogniser.from_run(folder, feature_set).save(folder.path / MODEL_FILE)
    _copy_rows(folder)
    for settings in experiment.decode.also:
        try:
            decode_run(
                folder, feature_set, settings, device=resources.device, threads=resources.threads
            )
        except InputError as error:  # the run itself is finished
            logging.getLogger(__name__).warning("not decoded: %s", error)


def _copy_rows(folder: RunFolder) -> None:
    """Write rows.arrow if there are many rows. It only makes reports faster: an error is logged."""
    try:
        if folder.rows_file.stat().st_size > MAX_BYTES_WITHOUT_COLUMNS:
            from pipeline.results.summary.row_table import write_columns  # noqa: PLC0415 (pyarrow)

            write_columns(folder)
    except Exception as error:
        logging.getLogger(__name__).warning("rows.arrow is not written: %s", error)


def _stop_early(folder: RunFolder, rules: SweepStopRules | None, rows: Sequence[Row]) -> None:
    """Raise StoppedEarly if a rule of the sweep stops the run."""
    if rules and (stop := rules.decide(folder, rows)):
        raise StoppedEarly(stop)


def _read_rules(file: Path | None) -> SweepStopRules | None:
    """Return the rules of the sweep; none if their file is damaged, because no run needs them."""
    try:
        return SweepStopRules.read(file) if file else None
    except InputError as error:
        logging.getLogger(__name__).warning("no run is stopped early: %s", error)
        return None


def _heartbeat_writer(folder: RunFolder) -> Callable[[Heartbeat], None]:
    """Return a function that writes each heartbeat, with the job's id."""
    job = current_job_id()
    return lambda heartbeat: folder.write_heartbeat(replace(heartbeat, job=job))


@contextmanager
def _log_to_run_file(folder: RunFolder) -> Iterator[logging.Logger]:
    """Log everything to the run's own file for the length of the block."""
    folder.path.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder.log_file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    former_level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield logging.getLogger(__name__)
    finally:
        root.setLevel(former_level)
        root.removeHandler(handler)
        handler.close()
