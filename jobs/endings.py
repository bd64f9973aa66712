"""Endings: what a scheduler said of a run that could not say it itself, kept in its folder.

In:   what status found.   Out: failure.json where there is none, so that files alone tell it:
summary.csv, another status, one without accounting.
Not here: finding it (status.py), what is done about it (remedies.py).
"""

from collections.abc import Sequence
from contextlib import suppress

from jobs.status import RunStatus
from jobs.wanted import SweepFolder
from pipeline.training.run import Failure


def keep(statuses: Sequence[RunStatus], folder: SweepFolder) -> None:
    """Whoever only looks at another's work folder may not write there, and sees it all the same."""
    for run in statuses:
        target = folder.run(run.run_id)
        if (
            run.state == "failed"
            and run.job
            and not target.failure()
            and not target.damage(run.heartbeat)
        ):
            with suppress(PermissionError):
                target.fail(Failure(cause=run.cause, message=run.detail, job=run.job))
