"""Numbers as a reader wants them: fractions become percent, seconds become minutes.

In:   numbers, nan where there is none.   Out: short text.
"""

import datetime as dt
import math

Number = int | float

THIN = "\u202f"  # narrow, and no line breaks at it
MISSING = "–"


def percent(share: Number) -> str:
    return MISSING if math.isnan(share) else f"{100 * share:.1f}{THIN}%"


def interval(low: Number, high: Number) -> str:
    """Of shares, without the sign: it follows a percentage. Nothing if there is none."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"{100 * low:.1f}–{100 * high:.1f}"


def points(difference: Number) -> str:
    """A difference of two shares."""
    return MISSING if math.isnan(difference) else f"{100 * difference:+.1f}".replace("-", "−")


def probability(share: Number) -> str:
    """Never quite 0 or 1: it comes from a finite number of draws."""
    if math.isnan(share):
        return MISSING
    if share < 0.001:
        return f"<{THIN}0.1{THIN}%"
    return f">{THIN}99.9{THIN}%" if share > 0.999 else percent(share)


def decimal(value: Number, digits: int = 2) -> str:
    return MISSING if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def whole(value: Number) -> str:
    return MISSING if math.isnan(value) else f"{value:,.0f}".replace(",", THIN)


def duration(seconds: Number) -> str:
    if math.isnan(seconds):
        return MISSING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}{THIN}h {minutes:02}{THIN}min"
    return f"{minutes}{THIN}min {rest:02}{THIN}s" if minutes else f"{rest}{THIN}s"


def moment(time: Number) -> str:
    """Seconds since 1970, for people in any zone."""
    return f"{dt.datetime.fromtimestamp(time, dt.UTC):%Y-%m-%d %H:%M} UTC"
