"""The state of a run as its files say it: waiting, running, stopped, finished or failed.

In:   heartbeat, failure.   Out: state, cause, message.
Not here: what a scheduler knows of the run (jobs/sweep/run_status.py).
"""

from typing import Literal

from pipeline.runs.folder import Failure, Heartbeat

RunFolderState = Literal["waiting", "running", "stopped", "finished", "failed"]


def state_from_files(
    heartbeat: Heartbeat | None, failure: Failure | None, *, process_alive: bool
) -> tuple[RunFolderState, str, str]:
    """State, cause, message, of files alone: a scheduler may know of a job that waits.

    `lives`: whether the process of the heartbeat is still there, as far as can be told.
    """
    if heartbeat and heartbeat.status == "finished":
        return "finished", "", ""
    if failure:  # cleared at submission, and so of the latest task
        return "failed", failure.cause, _single_line(failure.message)
    if heartbeat is None:
        return "waiting", "", ""
    if heartbeat.status == "running" and process_alive:
        return "running", "", ""
    if heartbeat.status == "running":
        gone = f"its process on {heartbeat.host} is gone"
        return "stopped", "killed", f"{gone}; typed again it continues"
    return "stopped", "", "typed again it continues"


def _single_line(text: str) -> str:
    return " ".join(text.split())
