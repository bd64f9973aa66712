"""Formatting: numbers as short text; fractions become percent, seconds become minutes.

In:   numbers, nan for an unknown value.   Out: text for the page.
Not here: numbers on a terminal (jobs/messages.py).
"""

import datetime as dt
import math

Number = int | float

NARROW_SPACE = "\u202f"  # narrow, and no line break happens there
NO_VALUE = "–"


def format_percent(share: Number) -> str:
    return NO_VALUE if math.isnan(share) else f"{100 * share:.1f}{NARROW_SPACE}%"


def format_interval(low: Number, high: Number) -> str:
    """Return two shares in percent, without the sign, since the text follows a percentage."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"{100 * low:.1f}–{100 * high:.1f}"


def format_points(difference: Number) -> str:
    """Return a difference of two shares in percentage points."""
    return NO_VALUE if math.isnan(difference) else f"{100 * difference:+.1f}".replace("-", "−")


def format_probability(share: Number) -> str:
    """Return a share of draws, never as 0 or 100 %: the number of draws is finite."""
    if math.isnan(share):
        return NO_VALUE
    if share < 0.001:
        return f"<{NARROW_SPACE}0.1{NARROW_SPACE}%"
    return f">{NARROW_SPACE}99.9{NARROW_SPACE}%" if share > 0.999 else format_percent(share)


def format_p_value(p: Number) -> str:
    """Return a p-value, never as 0: the number of draws is finite."""
    if math.isnan(p):
        return NO_VALUE
    return f"<{NARROW_SPACE}0.001" if p < 0.001 else f"{p:.3f}"


def format_decimal(value: Number, digits: int = 2) -> str:
    return NO_VALUE if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def format_integer(value: Number) -> str:
    return NO_VALUE if math.isnan(value) else f"{value:,.0f}".replace(",", NARROW_SPACE)


def format_duration(seconds: Number) -> str:
    if math.isnan(seconds):
        return NO_VALUE
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}{NARROW_SPACE}h {minutes:02}{NARROW_SPACE}min"
    return (
        f"{minutes}{NARROW_SPACE}min {rest:02}{NARROW_SPACE}s"
        if minutes
        else f"{rest}{NARROW_SPACE}s"
    )


def format_time(time: Number) -> str:
    """Return seconds since 1970 as a UTC date and time."""
    return f"{dt.datetime.fromtimestamp(time, dt.UTC):%Y-%m-%d %H:%M} UTC"
