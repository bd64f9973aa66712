"""Style: the colours, settings and fonts that figures share; figures as files.

In:   a drawn figure.   Out: constants; a file.
Not here: drawing (learning_curves.py, lr_curve.py), the colours of the page (page/page.css).

An SVG holds its letters as text, which the reader's program draws. In an image every letter must be
found in a font here: matplotlib's own has no Devanagari or Chinese, and draws boxes for them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.ticker import Formatter, FuncFormatter

# The colours of Okabe and Ito, which colour-blind readers can distinguish. The yellow is darker
# than theirs, because theirs is hard to see on white.
PALETTE = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#9a8c00", "#1b1b1b"),
)
TEXT_COLOUR = "#222222"
AXIS_COLOUR = "#6b6b6b"
GRID_COLOUR = "#e3e3e3"
BACKGROUND_RUN_COLOUR = "#bdbdbd"

FONT_SIZE_PX = 12.0  # pixels, where the SVG is shown without scaling

FIGURE_RC = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # embedded as TrueType: text can be selected, and journals accept it
    "svg.hashsalt": "blankslate",
    "font.size": FONT_SIZE_PX,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": AXIS_COLOUR,
    "axes.labelcolor": AXIS_COLOUR,
    "text.color": TEXT_COLOUR,
    "xtick.color": AXIS_COLOUR,
    "ytick.color": AXIS_COLOUR,
    "ytick.major.size": 0,
    "xtick.major.size": 3,
    "lines.solid_capstyle": "round",
}

OWN_FONT = "DejaVu Sans"  # comes with matplotlib
FONTS_OF_BOXES = ("lastresort", "last resort", "blank", "tofu")  # a box for every letter


def save_figure(figure: Figure, file: Any, image_format: str, **options: Any) -> None:
    """Write the figure; in an image (no svg) a letter that no font has is written as its code."""
    with nullcontext() if image_format == "svg" else drawable_text(figure):
        figure.savefig(file, format=image_format, **options)


@contextmanager
def drawable_text(figure: Figure) -> Iterator[None]:
    """Give the texts of a figure fonts of this computer that have their letters, for a while."""
    both = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    names = {axis: [label.get_text() for label in axis.get_ticklabels()] for axis in both}
    texts = figure.findobj(Text)
    letters = frozenset(c for each in texts for c in each.get_text() if not c.isspace())
    families, missing = find_fonts(letters)
    before = [(each, each.get_text(), each.get_fontfamily()) for each in texts]
    ticks = [
        (axis, axis.get_major_formatter())
        for axis in both
        if missing.intersection("".join(names[axis]))
    ]
    for each, text, family in before:
        each.set_fontfamily([*family, *families])
        each.set_text(write_codes(text, missing))
    for axis, formatter in ticks:
        axis.set_major_formatter(FuncFormatter(_with_codes(formatter, missing)))
        axis.set_tick_params(labelrotation=90)  # codes are long
    try:
        yield
    finally:
        for each, text, family in before:
            each.set_fontfamily(family)
            each.set_text(text)
        for axis, formatter in ticks:
            axis.set_major_formatter(formatter)


def _with_codes(formatter: Formatter, missing: frozenset[str]) -> Callable[[float, int], str]:
    return lambda value, place: write_codes(formatter(value, place), missing)


def write_codes(text: str, missing: frozenset[str]) -> str:
    """Return the text with the code points of missing letters, such as U+0915."""
    return "".join(f"U+{ord(each):04X}" if each in missing else each for each in text)


@cache
def find_fonts(letters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return names of fonts that have what matplotlib's own lacks, and the letters none has."""
    own = FT2Font(font_manager.findfont(OWN_FONT))
    missing = {each for each in letters if not own.get_char_index(ord(each))}
    found: dict[str, tuple[str, set[str]]] = {}  # path -> family, letters
    for path in sorted(font_manager.findSystemFonts(), key=_prefer_regular) if missing else ():
        try:
            font = FT2Font(path)
        except (OSError, RuntimeError):
            continue
        has = {each for each in missing if font.get_char_index(ord(each))}
        boxes = any(word in font.family_name.lower() for word in FONTS_OF_BOXES)
        if has and font.scalable and not boxes:
            found[path] = font.family_name, has
    families = []
    while found and missing:
        path = max(found, key=lambda each: len(found[each][1] & missing))
        family, has = found.pop(path)
        if not has & missing:
            break
        font_manager.fontManager.addfont(path)
        families.append(family)
        missing -= has
    return tuple(families), frozenset(missing)


def _prefer_regular(path: str) -> tuple[bool, str]:
    return any(word in path.lower() for word in ("bold", "italic", "oblique")), path
