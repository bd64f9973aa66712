"""The state of a run as its own files report it: waiting, running, finished and so on.

In:   the heartbeat, the failure and the early stop of a run folder, what is wrong with its files.
Out:  state, cause, message; InputError where a run must be finished and is not.
Not here: what a scheduler knows about the run (jobs/sweep/run_status.py).
"""

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pipeline.files import InputError, read_json, write_json
from pipeline.runs.folder import RunFolder
from pipeline.runs.records import EarlyStop, Failure, Heartbeat, record_from_json

RunFolderState = Literal["waiting", "running", "stopped", "stopped early", "finished", "failed"]

DAMAGED_FILE = "damaged file"  # the cause of a run whose files cannot be read or have changed


def require_finished(run: RunFolder) -> None:
    """Raise InputError where a run is not finished or its files have changed since then."""
    heartbeat = run.heartbeat()
    if heartbeat and heartbeat.status == "finished":
        if damage := run.integrity_error(heartbeat):
            raise InputError(damage)
        return
    raise InputError(f"{_why_unfinished(run)}; run make sweep or make train until it is finished")


def _why_unfinished(run: RunFolder) -> str:
    try:
        read_json(run.heartbeat_file)
    except FileNotFoundError:
        return f"{run.heartbeat_file}: missing, so that the run counts as not begun"
    except ValueError:
        return f"{run.heartbeat_file}: damaged, so that the run counts as not finished"
    return f"{run.path}: the run is not finished"


def state_from_files(
    heartbeat: Heartbeat | None,
    failure: Failure | None,
    early_stop: EarlyStop | None = None,
    *,
    process_alive: bool,
    damage: str = "",
) -> tuple[RunFolderState, str, str]:
    """Return state, cause and message; cause and message are empty where there is nothing to say.

    `process_alive`: whether the process that wrote the heartbeat still runs, as far as the caller
    can find out. `damage`: what is wrong with a file of the run, which makes the run a failed one.
    """
    is_finished = heartbeat is not None and heartbeat.status == "finished"
    if damage:
        failure = Failure(cause=DAMAGED_FILE, message=damage)
    if early_stop and not damage and not is_finished:  # a submission deletes it
        return "stopped early", "", early_stop.message
    if failure and (damage or not is_finished):  # a submission deletes it: of the latest attempt
        return "failed", failure.cause, " ".join(failure.message.split())
    if is_finished:
        return "finished", "", early_stop.message if early_stop else ""
    if heartbeat is None:
        return "waiting", "", ""
    return _unfinished_state(heartbeat, process_alive=process_alive)


def _unfinished_state(
    heartbeat: Heartbeat, *, process_alive: bool
) -> tuple[RunFolderState, str, str]:
    if heartbeat.status == "running" and process_alive:
        return "running", "", ""
    if heartbeat.status == "running":
        gone = f"its process on {heartbeat.host} is gone"
        return "stopped", "killed", f"{gone}; run the same command again to continue"
    return "stopped", "", "run the same command again to continue"


def write_early_stop(run: RunFolder, stop: EarlyStop) -> None:
    write_json(_record_path(run), asdict(stop))


def read_early_stop(run: RunFolder) -> EarlyStop | None:
    """Return None also where the record is unreadable: the run then continues."""
    try:
        return record_from_json(EarlyStop, read_json(_record_path(run)))
    except (OSError, ValueError, TypeError):
        return None


def clear_early_stop(run: RunFolder) -> None:
    """Delete the record, because the run is to continue."""
    _record_path(run).unlink(missing_ok=True)


def _record_path(run: RunFolder) -> Path:
    return run.path / "early_stop.json"
