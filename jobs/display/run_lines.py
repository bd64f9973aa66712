"""Lines about runs and plans: events, epochs, causes, what a plan submits.

In:   sweeps, statuses, rows, plans.   Out: lines.
Not here: the table of runs (run_table.py), whose library a piped command does not load.
"""

from collections.abc import Sequence

from jobs.messages import count_text, duration_text, number_text, percent_text
from jobs.sweep.run_status import RunStatus
from pipeline.runs.folder import EpochReport, Heartbeat
from pipeline.runs.rows import Row

STATE_STYLES = {
    "finished": "green",
    "running": "cyan",
    "failed": "red",
    "lost": "red",
    "stopped": "yellow",
    "stopped early": "magenta",
    "queued": "default",
    "waiting": "dim",
}
# Explained below the table, where there is something to say.
EXPLAINED_STATES = {"failed", "lost", "stopped", "stopped early", "finished"}


def state_counts_line(statuses: Sequence[RunStatus]) -> str:
    """Return `4 runs: 2 finished, 1 running, 1 failed`."""
    states = [status.state for status in statuses]
    parts = [f"{states.count(state)} {state}" for state in STATE_STYLES if state in states]
    return f"{count_text(len(states), 'run')}: {', '.join(parts)}"


def explanation_lines(statuses: Sequence[RunStatus]) -> list[str]:
    """Return why runs failed or ended early, one line for each reason.

    They stand below the table, because a long sentence would make its columns narrow.
    """
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
    """Return the line for a new state of a run; `epochs_before`: epochs that were finished."""
    heartbeat = status.heartbeat
    if status.state == "running" and heartbeat and epochs_before and not heartbeat.doing:
        return f"{status.label}: continues from epoch {min(epochs_before + 1, heartbeat.epochs)}"
    cause = f": {status.cause}" if status.cause else ""
    cause += (
        f": {heartbeat.doing}"
        if heartbeat and heartbeat.doing and status.state == "running"
        else ""
    )
    scored = (
        f", dev {heartbeat.rate_name} {percent_text(heartbeat.dev_cer)}"
        if heartbeat and status.state == "finished"
        else ""
    )
    return f"{status.label}: {status.state}{cause}{scored}"


def epoch_line(status: RunStatus, train: Row, dev: Row) -> str:
    """Return the line for a finished epoch, from its train row and its dev row."""
    heartbeat = status.heartbeat or Heartbeat()
    left = (
        f", {duration_text(heartbeat.seconds_left) or '?'} left"
        if status.state == "running"
        else ""
    )
    return (
        f"{status.label}: epoch {dev['epoch']} of {heartbeat.epochs}, "
        f"{_loss_text('train', train)}, {_loss_text('dev', dev)}, "
        f"dev {heartbeat.rate_name} {percent_text(dev['cer'])}, "
        f"blank {percent_text(dev['blank_argmax'])}, "
        f"{number_text(train['frames_per_second'], ',.0f')} frames/s{left}"
    )


def _loss_text(split: str, row: Row) -> str:
    loss, reference = number_text(row["loss_per_character"]) or "?", row["reference_loss"]
    shown = f" (reference loss {number_text(reference)})" if reference > 0 else ""
    return f"{split} loss {loss}{shown}"


def epoch_report_lines(report: EpochReport) -> list[str]:
    """Return the state of a run in words, and some utterances with their hypotheses."""
    lines = [f"epoch {report.epoch}, dev: {report.sentence}"]
    for _, reference, hypothesis in report.samples:
        lines += [
            f"    reference   {reference}",
            f"    hypothesis  {hypothesis.strip() or '(empty)'}",
        ]
    return lines
