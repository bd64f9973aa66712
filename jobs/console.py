"""What a person reads: durations, rates, the table of runs. Quiet, and plain when piped.

In:   statuses, plans.   Out: text on the terminal.
"""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import (
    Console,
    ConsoleOptions,
    Group,
    JustifyMethod,
    RenderableType,
    RenderResult,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from jobs.plan import Plan, Request
from jobs.status import RunStatus
from jobs.stock import FeatureStatus
from pipeline.training.row import Row
from pipeline.training.run import Account, Heartbeat

STYLES = {
    "finished": "green",
    "running": "cyan",
    "failed": "red",
    "lost": "red",
    "stopped": "yellow",
    "queued": "default",
    "waiting": "dim",
}
COLUMNS = (
    "run",
    "id",
    "state",
    "epoch",
    "loss",
    "line",
    "dev CER",
    "blank",
    "frames/s",
    "CPUs",
    "GPU",
    "left",
    "",
)

LEFT = {"run", "id", "state", ""}  # columns of words; numbers stand to the right
GAP = "  "  # between columns, as rich has it
# Where there is no room these are left out, in this order, and then words go on in further lines.
DROPPED = ("GPU", "CPUs", "frames/s", "left", "id")
WRAPPED = {"run": 24, "": 20}  # letters that words are given at least
EXPLAINED = {"failed", "lost", "stopped"}  # in sentences below the table

DRAWN = 100  # runs in a table that rich lays out
LETTERS_OF_ID = 8  # enough for RUN=…

# Colour only in a terminal, and not with NO_COLOR; piped lines are as long as they are.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 100_000)


def say(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)


def duration(seconds: float | None) -> str:
    """`4 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent(rate: float | None) -> str:
    return "" if rate is None or math.isnan(rate) else f"{100 * rate:.1f} %"


def number(value: float | None, form: str = ".2f") -> str:
    return "" if value is None or math.isnan(value) else format(value, form)


def count(items: int, noun: str) -> str:
    return f"{items} {noun}{'' if items == 1 else 's'}"


def summary(statuses: Sequence[RunStatus]) -> str:
    """`4 runs: 2 finished, 1 running, 1 failed`."""
    states = [status.state for status in statuses]
    parts = [f"{states.count(state)} {state}" for state in STYLES if state in states]
    return f"{count(len(states), 'run')}: {', '.join(parts)}"


def explanations(statuses: Sequence[RunStatus]) -> list[str]:
    """Why runs ended, below the table: a long sentence would squeeze its columns."""
    labels: dict[tuple[str, str], list[str]] = {}
    for status in statuses:
        if status.state in EXPLAINED and status.detail:
            labels.setdefault((status.cause or status.state, status.detail), []).append(
                status.label
            )
    return [
        f"{runs[0]}{f' and {len(runs) - 1} more' if runs[1:] else ''}: {cause}: {detail}"
        for (cause, detail), runs in labels.items()
    ]


@dataclass(frozen=True)
class Runs:
    """Their table: of the columns that hold something, as many as there is room for."""

    statuses: Sequence[RunStatus]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = [_cells(status) for status in self.statuses]
        shown = _shown(rows, options.max_width)
        names = [COLUMNS[n] for n in shown]
        cells = [[row[n] for n in shown] for row in rows]
        styles = [STYLES[status.state] for status in self.statuses]
        yield (_drawn if len(rows) <= DRAWN else _aligned)(names, cells, styles)


def _shown(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Places of columns; the first of DROPPED goes first."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    shown = [n for n, name in enumerate(COLUMNS) if widths[n] or name == "run"]
    needed = {
        n: min(max(widths[n], len(COLUMNS[n])), WRAPPED.get(COLUMNS[n], width)) for n in shown
    }
    for name in DROPPED:
        place = COLUMNS.index(name)
        if place in shown and sum(needed[n] + len(GAP) for n in shown) - len(GAP) > width:
            shown.remove(place)
    return shown


def _drawn(
    names: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]
) -> RenderableType:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        justify: JustifyMethod = "left" if name in LEFT else "right"
        made.add_column(name, justify=justify, no_wrap=name not in WRAPPED)
    for row, style in zip(rows, styles, strict=True):
        made.add_row(*row, style=style)
    return made


@dataclass(frozen=True)
class Lines:
    """Text and style of each; rich takes long to lay out thousands of cells, or of texts."""

    lines: Sequence[tuple[str, str]]

    def __rich_console__(self, console: Console, _: ConsoleOptions) -> RenderResult:
        for text, style in self.lines:
            yield Segment(text, console.get_style(style))
            yield Segment.line()


def _aligned(
    names: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]
) -> RenderableType:
    """The same in plain columns."""
    lines = [names, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    adjusted = [str.ljust if name in LEFT else str.rjust for name in names]
    texts = (
        GAP.join(a(cell, width) for a, cell, width in zip(adjusted, line, widths, strict=True))
        for line in lines
    )
    return Lines(list(zip(map(str.rstrip, texts), ["bold", *styles], strict=True)))


def overview(
    statuses: Sequence[RunStatus], features: Sequence[FeatureStatus], note: str = ""
) -> RenderableType:
    """The whole picture; the line of features is there as long as some are missing."""
    lines: list[RenderableType] = []
    if any(f.done < f.slices for f in features):
        done, all_slices = sum(f.done for f in features), sum(f.slices for f in features)
        sets = count(len(features), "set")
        lines.append(Text(f"features: {done} of {count(all_slices, 'shard')} of {sets}"))
    if statuses:
        lines += [Runs(statuses), Text(summary(statuses)), *map(Text, explanations(statuses))]
    if note:
        lines.append(Text(note, style="yellow"))
    return Group(*lines)


def event_line(status: RunStatus, since: int = 0) -> str:
    """A run has started or ended; `since`: epochs that it had behind it when it was looked at."""
    beat = status.heartbeat
    if status.state == "running" and beat and since and not beat.doing:
        return f"{status.label}: goes on from epoch {min(since + 1, beat.epochs)}"
    cause = f": {status.cause}" if status.cause else ""
    cause += f": {beat.doing}" if beat and beat.doing and status.state == "running" else ""
    scored = f", dev CER {percent(beat.dev_cer)}" if beat and status.state == "finished" else ""
    return f"{status.label}: {status.state}{cause}{scored}"


def epoch_line(status: RunStatus, train: Row, dev: Row) -> str:
    """An epoch that has ended, in its own numbers."""
    beat = status.heartbeat or Heartbeat()
    left = f", {duration(beat.seconds_left) or '?'} left" if status.state == "running" else ""
    return (
        f"{status.label}: epoch {dev['epoch']} of {beat.epochs}, {_losses('train', train)}, "
        f"{_losses('dev', dev)}, dev CER {percent(dev['cer'])}, "
        f"blank {percent(dev['blank_argmax'])}, "
        f"{number(train['frames_per_second'], ',.0f')} frames/s{left}"
    )


def _losses(split: str, row: Row) -> str:
    line = f" against {number(row['reference_loss'])}" if row["reference_loss"] > 0 else ""
    return f"{split} loss {number(row['loss_per_character']) or '?'}{line}"


def account_lines(account: Account) -> list[str]:
    """An epoch in words, and some utterances as they are heard by now."""
    lines = [f"epoch {account.epoch}, dev: {account.sentence}"]
    for _, reference, hypothesis in account.samples:
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
                f"{name}: {count(items, noun)} in {count(len(array.tasks), 'task')} "
                f"of at most {max(map(len, array.tasks))}{at_once}{_otherwise(array.request)}"
            )
    if plan.report:
        lines.append("report: 1 task")
    for left, noun in ((plan.deferred_slices, "slice"), (plan.deferred_runs, "run")):
        if left:
            lines.append(f"no room now for {count(left, noun)}: make sweep again later")
    return lines


def _otherwise(request: Request) -> str:
    memory = f", {request.memory_gb:g} GB each" if request.memory_gb else ""
    return memory + (f", not on {', '.join(request.exclude)}" if request.exclude else "")


def _cells(status: RunStatus) -> list[str]:
    beat = status.heartbeat
    why = status.cause or ("" if status.state in EXPLAINED else status.detail)
    identity = status.run_id[:LETTERS_OF_ID]
    if beat is None:
        return [status.label, identity, status.state, *[""] * 9, why]
    running, used = status.state == "running", status.usage
    return [
        status.label,
        identity,
        status.state,
        f"{beat.epoch}/{beat.epochs}" if beat.epochs else "",  # a claim knows none yet
        number(beat.loss_per_character),
        number(beat.reference_loss),
        percent(beat.dev_cer),
        percent(beat.blank_argmax),
        number(beat.frames_per_second, ",.0f") if running else "",
        number(used.cpus_used, ".1f") if used else "",
        percent(used.gpu_busy) if used else "",
        duration(beat.seconds_left) if running else "",
        why or ((beat.doing or _age(beat.time)) if running else ""),
    ]


def _age(then: float) -> str:
    seconds = time.time() - then
    return f"{duration(seconds)} ago" if seconds > 30 else ""
