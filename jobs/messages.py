"""Messages: lines for a person, and the words and numbers in them.

In:   text, numbers; errors.   Out: lines on the terminal; the exit code of a command.
Not here: tables and live views (display/).
"""

import math
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from jobs.exit_codes import BAD_INPUT, DONE, INTERRUPTED
from pipeline.files import InputError

NOTEBOOK_VARIABLE = "JPY_PARENT_PID"  # Jupyter sets it for a kernel

LINE_INTERVAL_S = 5.0  # between two lines about the same run, or about features
MAX_ITEMS_IN_LINE = 5  # of a list in a line

LEFT_TO_RIGHT_MARK, FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u200e", "\u2068", "\u2069"
# Hebrew, Arabic, Syriac, Thaana, N'Ko and their presentation forms; words with spaces between them.
_RTL_WORD = "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001eeff]+"
RTL_PATTERN = re.compile(rf"{_RTL_WORD}(?: +{_RTL_WORD})*")

if TYPE_CHECKING:
    from rich.console import Console


def print_line(text: str) -> None:
    """Print a line without wrapping it; in a terminal above the live table, if there is one."""
    if in_terminal():
        console().print(isolate_rtl(text), markup=False, soft_wrap=True)
    else:
        print(text, flush=True)


def clock_text(then: float) -> str:
    """Return `14:05`, or `03 Feb 14:05` if that is not today; `then`: seconds since 1970."""
    local = time.localtime(then)
    today = local[:3] == time.localtime()[:3]
    return time.strftime("%H:%M" if today else "%d %b %H:%M", local)


def print_note(line: str) -> None:
    """Print a line to stderr, so that stdout holds the results alone."""
    print(line, file=sys.stderr)


def isolate_rtl(text: str) -> str:
    """Return the text with Unicode isolates around words that are written from right to left.

    Without them a terminal reverses the order of the whole line around such a label.
    """
    if text.isascii():
        return text
    parts = RTL_PATTERN.sub(lambda found: f"{FIRST_STRONG_ISOLATE}{found[0]}{POP_ISOLATE}", text)
    return f"{LEFT_TO_RIGHT_MARK}{parts}" if parts != text else text


def in_terminal() -> bool:
    """Return whether lines can be drawn over; a notebook, which keeps every state, is no terminal.

    A cell with `!make demo` gives the command a terminal of its own.
    """
    return sys.stdout.isatty() and NOTEBOOK_VARIABLE not in os.environ


@cache
def console() -> "Console":
    """Return rich's console: colour only in a terminal without NO_COLOR; no wrapping in a pipe."""
    # rich takes as long to import as all of jobs/, and a piped command does not need it.
    from rich.console import Console  # noqa: PLC0415

    return Console(highlight=False, width=None if in_terminal() else 100_000)


def exit_code(act: Callable[[], int]) -> int:
    """Call `act` and return its exit code; print an expected error in one line."""
    try:
        return act()
    except BrokenPipeError:  # `blankslate status --json | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (InputError, OSError) as error:
        if os.environ.get("BLANKSLATE_DEBUG"):
            raise
        print(f"blankslate: {_one_line(error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("blankslate: stopped; run the same command again to continue", file=sys.stderr)
        return INTERRUPTED


def _one_line(error: Exception) -> str:
    return " ".join(" ".join([str(error), *getattr(error, "__notes__", [])]).split())


def duration_text(seconds: float | None) -> str:
    """Return `4 s`, `3 min 20 s`, `2 h 05 min`; empty for None and for no finite number."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent_text(rate: float | None) -> str:
    return "" if rate is None or math.isnan(rate) else f"{100 * rate:.1f} %"


def number_text(value: float | None, form: str = ".2f") -> str:
    return "" if value is None or math.isnan(value) else format(value, form)


def count_text(items: int, noun: str) -> str:
    return f"{items} {noun}{'' if items == 1 else 's'}"


def join_first(items: Collection[str], most: int = MAX_ITEMS_IN_LINE) -> str:
    """Return `a, b and 3 more`."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(list(items)[:most]) + more


@contextmanager
def show_status_line(initial_text: str) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a line of progress: in place, or printed at times if piped."""
    if in_terminal():
        with console().status(initial_text) as shown:
            yield shown.update
        return
    printed_at = time.monotonic()

    def update(line: str) -> None:
        nonlocal printed_at
        if time.monotonic() - printed_at > LINE_INTERVAL_S:
            printed_at = time.monotonic()
            print_line(line)

    yield update
