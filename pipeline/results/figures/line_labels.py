"""Line labels: the number and label of each run, written at the end of its line.

In:   the end point of each line.   Out: text on the axes; texts do not overlap.
Not here: drawing the lines (learning_curves.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from pipeline.results.figures.style import FONT_SIZE_PX

MAX_LABEL_CHARS = 26  # longer labels are cut; the page shows the whole label


@dataclass(frozen=True)
class LineEnd:
    """The last point of a run's line."""

    number: int  # of the run
    label: str
    colour: str
    x: float  # updates
    y: float  # the figure's quantity, within the limits of the axis


def draw_line_labels(axes: Axes, line_ends: Sequence[LineEnd], *, with_labels: bool) -> None:
    """Write the number, and the label if `with_labels`, at each line end.

    Texts that would overlap are moved apart vertically.
    """
    points = {
        end: axes.transData.transform((end.x, end.y)) * 72 / axes.figure.dpi for end in line_ends
    }
    ascending = sorted(line_ends, key=lambda end: (points[end][1], -end.number))
    width = FONT_SIZE_PX * (12 if with_labels else 2)
    for column in _group_by_column(ascending, [points[end][0] for end in ascending], width):
        heights = [float(points[end][1]) for end in column]
        moved = spread_apart(heights, FONT_SIZE_PX * 1.15)
        for end, height, new_height in zip(column, heights, moved, strict=True):
            axes.annotate(
                f"{end.number} {end.label}" if with_labels else str(end.number),
                xy=(end.x, end.y),
                xytext=(6, new_height - height),
                textcoords="offset points",
                va="center",
                color=end.colour,
                fontweight="normal" if with_labels else "bold",
                annotation_clip=False,
                gid=f"end-of-run-{end.number}",
            )


def spread_apart(heights: Sequence[float], gap: float) -> list[float]:
    """Return ascending `heights` moved so that neighbours are at least `gap` apart.

    The sum of the squared moves is the smallest possible one (isotonic regression by pooling
    adjacent violators, after subtracting the gaps).
    """
    blocks: list[tuple[float, int]] = []  # sum and size of heights that end up `gap` apart
    for index, height in enumerate(heights):
        total, size = height - index * gap, 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / size:
            previous_total, previous_size = blocks.pop()
            total, size = total + previous_total, size + previous_size
        blocks.append((total, size))
    means = [total / size for total, size in blocks for _ in range(size)]
    return [mean + index * gap for index, mean in enumerate(means)]


def shorten_label(label: str) -> str:
    """Return at most MAX_LABEL_CHARS characters, without those that XML forbids."""
    printable = "".join(letter if letter.isprintable() else " " for letter in label)
    if len(printable) <= MAX_LABEL_CHARS:
        return printable
    return printable[: MAX_LABEL_CHARS - 1] + "…"


def _group_by_column(
    line_ends: Sequence[LineEnd], positions: Sequence[float], width: float
) -> list[list[LineEnd]]:
    """Group line ends whose texts would overlap horizontally; `positions` and `width` in points."""
    columns: list[tuple[float, list[LineEnd]]] = []
    for end, position in zip(line_ends, positions, strict=True):
        overlapping = (members for left, members in columns if abs(left - position) < width)
        if members := next(overlapping, None):
            members.append(end)
        else:
            columns.append((position, [end]))
    return [members for _, members in columns]
