"""The picture of a sweep: its runs in a table, drawn by rich.

In:   statuses.   Out: what a terminal shows, live or once; plain columns where it is piped.
Not here: when it is drawn (watching.py), the words in it (console.py).
"""

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
from rich.live import Live
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from jobs.display.run_lines import EXPLAINED, STYLES, explanations, summary
from jobs.messages import console, count, duration, number, percent
from jobs.sweep.feature_status import FeatureStatus
from jobs.sweep.run_status import RunStatus

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
DROPPED_OF_ONE = ("id", "GPU", "CPUs", "state", "frames/s", "left")  # of a run alone
WRAPPED = {"run": 24, "": 20}  # letters that words are given at least

DRAWN = 100  # runs in a table that rich lays out
LETTERS_OF_ID = 8  # enough for RUN=…


def live(shown: RenderableType = "") -> Live:
    return Live(shown, console=console(), auto_refresh=False)


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
    """Places of columns; the first of those to be dropped goes first."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    shown = [n for n, name in enumerate(COLUMNS) if widths[n] or name == "run"]
    needed = {
        n: min(max(widths[n], len(COLUMNS[n])), WRAPPED.get(COLUMNS[n], width)) for n in shown
    }
    for name in DROPPED if len(rows) > 1 else DROPPED_OF_ONE:
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
