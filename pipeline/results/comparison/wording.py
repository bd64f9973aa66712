"""Wording: names, rates and counts in the sentences of an answer.

In:   a name, a share, a number.   Out: text that any terminal can show.
Not here: the numbers of the page, which has narrow spaces and a minus sign (summary/formatting.py).
"""

from collections.abc import Sequence

MAX_NAMED_ARMS = 3  # in one list of a sentence; arms.csv has all


def quote_name(name: str) -> str:
    """Return the name, in quotation marks if it holds a comma."""
    return f'"{name}"' if "," in name else name


def join_names(names: Sequence[str], separator: str = ", ") -> str:
    shown = separator.join(names[:MAX_NAMED_ARMS])
    more = len(names) - MAX_NAMED_ARMS
    return f"{shown} and {more} more" if more > 0 else shown


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    return f"{100 * difference:.1f} points"


def range_text(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f}"


def count_text(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
