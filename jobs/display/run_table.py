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

from jobs.display.run_lines import (
    EXPLAINED_STATES,
    STATE_STYLES,
    explanation_lines,
    state_counts_line,
)
from jobs.messages import console, count_text, duration_text, number_text, percent_text
from jobs.sweep.feature_status import FeatureStatus
from jobs.sweep.run_status import RunStatus

TABLE_COLUMNS = (
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

LEFT_ALIGNED = {"run", "id", "state", ""}  # columns of words; numbers stand to the right
COLUMN_GAP = "  "  # between columns, as rich has it
# Where there is no room these are left out, in this order, and then words go on in further lines.
DROP_ORDER = ("GPU", "CPUs", "frames/s", "left", "id")
SINGLE_RUN_DROP_ORDER = ("id", "GPU", "CPUs", "state", "frames/s", "left")  # of a run alone
MIN_WRAPPED_WIDTHS = {"run": 24, "": 20}  # letters that words are given at least

MAX_RICH_ROWS = 100  # runs in a table that rich lays out
SHORT_ID_LENGTH = 8  # enough for RUN=…


def live_display(shown: RenderableType = "") -> Live:
    return Live(shown, console=console(), auto_refresh=False)


def overview(
    statuses: Sequence[RunStatus], features: Sequence[FeatureStatus], note: str = ""
) -> RenderableType:
    """The whole picture; the line of features is there as long as some are missing."""
    lines: list[RenderableType] = []
    if any(f.done < f.slices for f in features):
        done, all_slices = sum(f.done for f in features), sum(f.slices for f in features)
        sets = count_text(len(features), "set")
        lines.append(Text(f"features: {done} of {count_text(all_slices, 'shard')} of {sets}"))
    if statuses:
        lines += [
            RunTable(statuses),
            Text(state_counts_line(statuses)),
            *map(Text, explanation_lines(statuses)),
        ]
    if note:
        lines.append(Text(note, style="yellow"))
    return Group(*lines)


@dataclass(frozen=True)
class RunTable:
    """Their table: of the columns that hold something, as many as there is room for."""

    statuses: Sequence[RunStatus]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = [_cells(status) for status in self.statuses]
        shown = _select_columns(rows, options.max_width)
        names = [TABLE_COLUMNS[n] for n in shown]
        cells = [[row[n] for n in shown] for row in rows]
        styles = [STATE_STYLES[status.state] for status in self.statuses]
        yield (_rich_table if len(rows) <= MAX_RICH_ROWS else _plain_table)(names, cells, styles)


def _select_columns(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Places of columns; the first of those to be dropped goes first."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    shown = [n for n, name in enumerate(TABLE_COLUMNS) if widths[n] or name == "run"]
    needed = {
        n: min(
            max(widths[n], len(TABLE_COLUMNS[n])), MIN_WRAPPED_WIDTHS.get(TABLE_COLUMNS[n], width)
        )
        for n in shown
    }
    for name in DROP_ORDER if len(rows) > 1 else SINGLE_RUN_DROP_ORDER:
        place = TABLE_COLUMNS.index(name)
        if (
            place in shown
            and sum(needed[n] + len(COLUMN_GAP) for n in shown) - len(COLUMN_GAP) > width
        ):
            shown.remove(place)
    return shown


def _rich_table(
    names: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]
) -> RenderableType:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        justify: JustifyMethod = "left" if name in LEFT_ALIGNED else "right"
        made.add_column(name, justify=justify, no_wrap=name not in MIN_WRAPPED_WIDTHS)
    for row, style in zip(rows, styles, strict=True):
        made.add_row(*row, style=style)
    return made


@dataclass(frozen=True)
class StyledLines:
    """Text and style of each; rich takes long to lay out thousands of cells, or of texts."""

    lines: Sequence[tuple[str, str]]

    def __rich_console__(self, console: Console, _: ConsoleOptions) -> RenderResult:
        for text, style in self.lines:
            yield Segment(text, console.get_style(style))
            yield Segment.line()


def _plain_table(
    names: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]
) -> RenderableType:
    """The same in plain columns."""
    lines = [names, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    adjusted = [str.ljust if name in LEFT_ALIGNED else str.rjust for name in names]
    texts = (
        COLUMN_GAP.join(
            a(cell, width) for a, cell, width in zip(adjusted, line, widths, strict=True)
        )
        for line in lines
    )
    return StyledLines(list(zip(map(str.rstrip, texts), ["bold", *styles], strict=True)))


def _cells(status: RunStatus) -> list[str]:
    beat = status.heartbeat
    why = status.cause or ("" if status.state in EXPLAINED_STATES else status.detail)
    identity = status.run_id[:SHORT_ID_LENGTH]
    if beat is None:
        return [status.label, identity, status.state, *[""] * 9, why]
    running, used = status.state == "running", status.usage
    return [
        status.label,
        identity,
        status.state,
        f"{beat.epoch}/{beat.epochs}" if beat.epochs else "",  # a claim knows none yet
        number_text(beat.loss_per_character),
        number_text(beat.reference_loss),
        percent_text(beat.dev_cer),
        percent_text(beat.blank_argmax),
        number_text(beat.frames_per_second, ",.0f") if running else "",
        number_text(used.cpus_used, ".1f") if used else "",
        percent_text(used.gpu_busy) if used else "",
        duration_text(beat.seconds_left) if running else "",
        why or ((beat.doing or _format_age(beat.time)) if running else ""),
    ]


def _format_age(then: float) -> str:
    seconds = time.time() - then
    return f"{duration_text(seconds)} ago" if seconds > 30 else ""
