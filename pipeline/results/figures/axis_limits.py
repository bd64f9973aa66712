"""Axis limits: the range and the ticks of a figure's axes.

In:   the dev points of all runs, the reference losses.   Out: limits and ticks on the axes.
Not here: lines and titles (learning_curves.py).
"""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from pipeline.results.figures.figure_specs import Scale

LOG_SCALE_BELOW = 0.2  # error rates below this need a logarithmic axis to be told apart
LOSS_AXIS_CAP_RATIO = 1.5  # height of the loss axis, as a multiple of the reference loss
LOG_TICKS = [digit * 10.0**power for power in range(-4, 0) for digit in (1, 2, 5)] + [1.0, 2.0]

Points = tuple[list[int], list[float]]  # updates and values of one run


def set_limits(
    axes: Axes, scale: Scale, points: Sequence[Points], reference_losses: Sequence[float]
) -> None:
    """Set the limits of both axes; at least one run has a point."""
    longest = max(x[-1] for x, _ in points if x)
    axes.set_xlim(0, longest * 1.005 or 1)
    finite = [[value for value in y if math.isfinite(value)] for _, y in points]
    values = [value for y in finite for value in y] or [0.0, 1.0]
    highest = max(*values, 1e-3)
    if scale == "log":
        _set_rate_limits(axes, values, highest)
        return
    if scale == "capped":
        axes.set_ylim(0, _loss_limit(finite, highest, reference_losses))
    elif scale == "late":
        late = [value for _, y in points for value in y[len(y) // 2 :] if math.isfinite(value)]
        axes.set_ylim(max(0.0, min(late, default=0.0) - 0.03), 1.006)
    else:
        axes.set_ylim(0, highest * 1.08)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 4, 5, 10]))


def _set_rate_limits(axes: Axes, values: Sequence[float], highest: float) -> None:
    if min(values) >= LOG_SCALE_BELOW:
        axes.set_ylim(0, min(highest * 1.08, 2))
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        return
    smallest = min((value for value in values if value > 0), default=0.01)
    bottom, top = max(smallest / 1.4, 1e-4), max(1.15, min(highest * 1.1, 3))
    axes.set_ylim(bottom, top)
    axes.set_yscale("log")
    axes.set_yticks([tick for tick in LOG_TICKS if bottom <= tick <= top])
    axes.set_ylim(bottom, top)  # again, because setting the ticks changes the limits
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _loss_limit(
    losses: Sequence[Sequence[float]], highest: float, reference_losses: Sequence[float]
) -> float:
    """Return the top of the loss axis.

    The first losses of a run can be ten times the plateau, so they may leave the figure. A run
    whose loss stays high must not.
    """
    cap = LOSS_AXIS_CAP_RATIO * max(reference_losses, default=highest / LOSS_AXIS_CAP_RATIO)
    lows = [min(y) * 1.1 for y in losses if y]
    return min(highest * 1.05, max([cap, *lows]))
