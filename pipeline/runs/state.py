"""The state of a run as its own files report it: waiting, running, stopped, finished or failed.

In:   the heartbeat and the failure of a run folder.   Out: state, cause, message.
Not here: what a scheduler knows about the run (jobs/sweep/run_status.py).
"""

from typing import Literal

from pipeline.runs.folder import Failure, Heartbeat

RunFolderState = Literal["waiting", "running", "stopped", "finished", "failed"]


def state_from_files(
    heartbeat: Heartbeat | None, failure: Failure | None, *, process_alive: bool
) -> tuple[RunFolderState, str, str]:
    """Return state, cause and message; cause and message are empty where there is nothing to say.

    `process_alive`: whether the process that wrote the heartbeat still runs, as far as the caller
    can find out.
    """
    if heartbeat and heartbeat.status == "finished":
        return "finished", "", ""
    if failure:  # a submission deletes it, so it comes from the latest attempt
        return "failed", failure.cause, " ".join(failure.message.split())
    if heartbeat is None:
        return "waiting", "", ""
    if heartbeat.status == "running" and process_alive:
        return "running", "", ""
    if heartbeat.status == "running":
        gone = f"its process on {heartbeat.host} is gone"
        return "stopped", "killed", f"{gone}; run the same command again to continue"
    return "stopped", "", "run the same command again to continue"
