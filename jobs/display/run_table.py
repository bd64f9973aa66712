"""The table of runs, drawn by rich.

In:   statuses.   Out: what a terminal shows, live or once; plain columns if the output is piped.
Not here: when it is drawn (live.py), the lines below it (run_lines.py).
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
from jobs.messages import (
    console,
    count_text,
    duration_text,
    in_terminal,
    isolate_rtl,
    number_text,
    percent_text,
)
from jobs.sweep.feature_status import FeatureStatus
from jobs.sweep.run_status import RunStatus

TABLE_COLUMNS = (
    "run",
    "id",
    "state",
    "epoch",
    "loss",
    "ref loss",
    "dev CER",
    "blank",
    "frames/s",
    "CPUs",
    "GPU",
    "left",
    "",
)

LEFT_ALIGNED = {"run", "id", "state", ""}  # columns of words; numbers are right-aligned
COLUMN_GAP = "  "  # as between the columns of a rich table
# In a narrow terminal these columns are left out, in this order; then words wrap.
DROP_ORDER = ("GPU", "CPUs", "frames/s", "id", "ref loss", "blank")
SINGLE_RUN_DROP_ORDER = (
    "id",
    "GPU",
    "CPUs",
    "state",
    "ref loss",
    "frames/s",
)  # if there is one run
MIN_WRAPPED_WIDTHS = {"run": 24, "": 20}  # minimum width of columns whose words wrap

MAX_RICH_ROWS = 100  # a larger table is drawn without rich's layout, which is slow
SHORT_ID_LENGTH = 8  # enough of a run id for RUN=…


def live_display(shown: RenderableType = "") -> Live:
    return Live(shown, console=console(), auto_refresh=False)


def overview(
    statuses: Sequence[RunStatus],
    features: Sequence[FeatureStatus],
    note: str = "",
    *,
    counts: bool = True,
) -> RenderableType:
    """Return what status shows: the features if shards are missing, the table, lines below it.

    `counts`: with the line that counts the states.
    """
    lines: list[RenderableType] = []
    if any(f.done < f.slices for f in features):
        done, all_slices = sum(f.done for f in features), sum(f.slices for f in features)
        sets = count_text(len(features), "set")
        lines.append(Text(f"features: {done} of {count_text(all_slices, 'shard')} of {sets}"))
    if statuses:
        lines.append(RunTable(statuses))
        if counts:
            lines.append(Text(state_counts_line(statuses)))
        lines += map(Text, explanation_lines(statuses))
    if note:
        lines.append(Text(note, style="yellow"))
    return Group(*lines)


@dataclass(frozen=True)
class LiveOverview:
    """The overview in the height of the terminal: the summary on top, running runs first."""

    statuses: Sequence[RunStatus]
    features: Sequence[FeatureStatus]
    note: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        limit = console.height - 1
        count = min(len(self.statuses), max(limit, 1))
        while True:
            shown = self._show(count)
            over = len(console.render_lines(shown, options.update(height=None))) - limit
            if over <= 0 or count <= 1:
                break
            count = max(count - over, 1)
        yield shown

    def _show(self, count: int) -> RenderableType:
        """Return the overview with `count` runs, in the order of the sweep."""
        states = [status.state for status in self.statuses]
        urgency = [(state != "running", state not in EXPLAINED_STATES) for state in states]
        ranked = sorted(range(len(states)), key=urgency.__getitem__)
        chosen = [self.statuses[n] for n in sorted(ranked[:count])]
        lines: list[RenderableType] = []
        if self.statuses:
            lines.append(Text(state_counts_line(self.statuses) + _time_left(self.statuses)))
        lines.append(overview(chosen, self.features, self.note, counts=False))
        if hidden := len(states) - len(chosen):
            lines.append(Text(f"… and {count_text(hidden, 'more run')}; WATCH=0 shows all"))
        return Group(*lines)


def _time_left(statuses: Sequence[RunStatus]) -> str:
    """Return in how long the last of the running runs ends; empty if that is not known."""
    beats = (status.heartbeat for status in statuses if status.state == "running")
    left = [beat.seconds_left for beat in beats if beat and beat.seconds_left >= 0]
    return f"; the running ones end within {duration_text(max(left))}" if left else ""


@dataclass(frozen=True)
class RunTable:
    """The table of runs, with the columns that have a value and fit the width."""

    statuses: Sequence[RunStatus]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = [_cells(status) for status in self.statuses]
        shown = _select_columns(rows, options.max_width)
        beats = [status.heartbeat for status in self.statuses if status.heartbeat]
        rate = "/".join(dict.fromkeys(beat.rate_name for beat in beats)) or "CER"
        names = [TABLE_COLUMNS[n].replace("CER", rate) for n in shown]
        cells = [[row[n] for n in shown] for row in rows]
        styles = [STATE_STYLES[status.state] for status in self.statuses]
        yield (_rich_table if len(rows) <= MAX_RICH_ROWS else _plain_table)(names, cells, styles)


def _select_columns(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the indices of the columns that are shown."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    shown = [n for n, name in enumerate(TABLE_COLUMNS) if widths[n] or name == "run"]
    needed = {
        n: min(
            max(widths[n], len(TABLE_COLUMNS[n])), MIN_WRAPPED_WIDTHS.get(TABLE_COLUMNS[n], width)
        )
        for n in shown
    }
    for name in DROP_ORDER if len(rows) > 1 else SINGLE_RUN_DROP_ORDER:
        column = TABLE_COLUMNS.index(name)
        total = sum(needed[n] + len(COLUMN_GAP) for n in shown) - len(COLUMN_GAP)
        if column in shown and total > width:
            shown.remove(column)
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
    """Lines with a style each, without rich's layout, which is slow for thousands of cells."""

    lines: Sequence[tuple[str, str]]

    def __rich_console__(self, console: Console, _: ConsoleOptions) -> RenderResult:
        for text, style in self.lines:
            yield Segment(text, console.get_style(style))
            yield Segment.line()


def _plain_table(
    names: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]
) -> RenderableType:
    """Return the same table as `_rich_table`, for many rows."""
    lines = [names, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [str.ljust if name in LEFT_ALIGNED else str.rjust for name in names]
    texts = (
        COLUMN_GAP.join(
            align(cell, width) for align, cell, width in zip(aligned, line, widths, strict=True)
        )
        for line in lines
    )
    return StyledLines(list(zip(map(str.rstrip, texts), ["bold", *styles], strict=True)))


def _cells(status: RunStatus) -> list[str]:
    heartbeat = status.heartbeat
    why = status.cause or ("" if status.state in EXPLAINED_STATES else status.detail)
    identity = status.run_id[:SHORT_ID_LENGTH]
    label = isolate_rtl(status.label) if in_terminal() else status.label
    if heartbeat is None:
        return [label, identity, status.state, *[""] * 9, why]
    running, used = status.state == "running", status.usage
    return [
        label,
        identity,
        status.state,
        f"{heartbeat.epoch}/{heartbeat.epochs}"
        if heartbeat.epochs
        else "",  # 0 until the run has read its settings
        number_text(heartbeat.loss_per_character),
        number_text(heartbeat.reference_loss),
        percent_text(heartbeat.dev_cer),
        percent_text(heartbeat.blank_argmax),
        number_text(heartbeat.frames_per_second, ",.0f") if running else "",
        number_text(used.cpus_used, ".1f") if used else "",
        percent_text(used.gpu_busy) if used else "",
        duration_text(heartbeat.seconds_left) if running else "",
        why or ((heartbeat.doing or _format_age(heartbeat.time)) if running else ""),
    ]


def _format_age(then: float) -> str:
    seconds = time.time() - then
    return f"{duration_text(seconds)} ago" if seconds > 30 else ""
