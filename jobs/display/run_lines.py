"""What a person reads, in words: durations, rates, what a run or a plan comes to.

In:   statuses, plans.   Out: lines.
Not here: the table of runs (picture.py), whose library a piped command does not load.
"""

from collections.abc import Sequence

from jobs.messages import count_text, duration_text, number_text, percent_text
from jobs.slurm.resources import ResourceOverride
from jobs.sweep.plan import Plan
from jobs.sweep.run_status import RunStatus
from pipeline.runs.folder import EpochReport, Heartbeat
from pipeline.runs.rows import Row

STATE_STYLES = {
    "finished": "green",
    "running": "cyan",
    "failed": "red",
    "lost": "red",
    "stopped": "yellow",
    "queued": "default",
    "waiting": "dim",
}
EXPLAINED_STATES = {"failed", "lost", "stopped"}  # in sentences below the table


def state_counts_line(statuses: Sequence[RunStatus]) -> str:
    """`4 runs: 2 finished, 1 running, 1 failed`."""
    states = [status.state for status in statuses]
    parts = [f"{states.count(state)} {state}" for state in STATE_STYLES if state in states]
    return f"{count_text(len(states), 'run')}: {', '.join(parts)}"


def explanation_lines(statuses: Sequence[RunStatus]) -> list[str]:
    """Why runs ended, below the table: a long sentence would squeeze its columns."""
    labels: dict[tuple[str, str], list[str]] = {}
    for status in statuses:
        if status.state in EXPLAINED_STATES and status.detail:
            labels.setdefault((status.cause or status.state, status.detail), []).append(
                status.label
            )
    return [
        f"{runs[0]}{f' and {len(runs) - 1} more' if runs[1:] else ''}: {cause}: {detail}"
        for (cause, detail), runs in labels.items()
    ]


def event_line(status: RunStatus, epochs_before: int = 0) -> str:
    """A run has started or ended; `since`: epochs that it had behind it when it was looked at."""
    heartbeat = status.heartbeat
    if status.state == "running" and heartbeat and epochs_before and not heartbeat.doing:
        return f"{status.label}: goes on from epoch {min(epochs_before + 1, heartbeat.epochs)}"
    cause = f": {status.cause}" if status.cause else ""
    cause += (
        f": {heartbeat.doing}"
        if heartbeat and heartbeat.doing and status.state == "running"
        else ""
    )
    scored = (
        f", dev CER {percent_text(heartbeat.dev_cer)}"
        if heartbeat and status.state == "finished"
        else ""
    )
    return f"{status.label}: {status.state}{cause}{scored}"


def epoch_line(status: RunStatus, train: Row, dev: Row) -> str:
    """An epoch that has ended, in its own numbers."""
    heartbeat = status.heartbeat or Heartbeat()
    left = (
        f", {duration_text(heartbeat.seconds_left) or '?'} left"
        if status.state == "running"
        else ""
    )
    return (
        f"{status.label}: epoch {dev['epoch']} of {heartbeat.epochs}, {_loss_text('train', train)}, "
        f"{_loss_text('dev', dev)}, dev CER {percent_text(dev['cer'])}, "
        f"blank {percent_text(dev['blank_argmax'])}, "
        f"{number_text(train['frames_per_second'], ',.0f')} frames/s{left}"
    )


def _loss_text(split: str, row: Row) -> str:
    line = f" against {number_text(row['reference_loss'])}" if row["reference_loss"] > 0 else ""
    return f"{split} loss {number_text(row['loss_per_character']) or '?'}{line}"


def epoch_report_lines(report: EpochReport) -> list[str]:
    """An epoch in words, and some utterances as they are heard by now."""
    lines = [f"epoch {report.epoch}, dev: {report.sentence}"]
    for _, reference, hypothesis in report.samples:
        lines += [f"    said   {reference}", f"    heard  {hypothesis.strip() or '(nothing)'}"]
    return lines


def plan_lines(plan: Plan) -> list[str]:
    """For DRY=1: what would be submitted."""
    lines = []
    for name, arrays in (("features", plan.features), ("runs", plan.runs)):
        noun = "slice" if name == "features" else "run"
        for array in arrays:
            items = sum(map(len, array.tasks))
            at_once = f", {array.throttle} at once" if array.throttle else ""
            lines.append(
                f"{name}: {count_text(items, noun)} in {count_text(len(array.tasks), 'task')} "
                f"of at most {max(map(len, array.tasks))}{at_once}{_override_text(array.override)}"
            )
    if plan.report:
        lines.append("report: 1 task")
    return [*lines, *deferred_lines(plan)]


def deferred_lines(plan: Plan) -> list[str]:
    """Lines about slices and runs that the limits leave no room for now."""
    return [
        f"no room now for {count_text(left, noun)}: make sweep again later"
        for left, noun in ((plan.deferred_slices, "slice"), (plan.deferred_runs, "run"))
        if left
    ]


def _override_text(request: ResourceOverride) -> str:
    memory = f", {request.memory_gb:g} GB each" if request.memory_gb else ""
    return memory + (f", not on {', '.join(request.exclude)}" if request.exclude else "")
