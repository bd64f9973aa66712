"""SVG embedding: a figure as an element of a page; and as PNG and PDF files for a thesis.

In:   an SVG document from learning_curves.py; a drawn figure.
Out:  an `svg` element with the page's colours and typeface, and ids that no other figure has;
      the figure as files.
"""

import html
import re
from collections import Counter
from pathlib import Path

from matplotlib.figure import Figure

from pipeline.files import atomic_write
from pipeline.results.figures import style

PNG_DPI = 300
# Without dates and versions, so that the same figure has the same bytes.
METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}

# A figure in a file of its own keeps its colours. The page replaces them, because it has a dark
# mode.
CSS_VARIABLES = {
    **{colour: f"--run-{number}" for number, colour in enumerate(style.PALETTE)},
    style.TEXT_COLOUR: "--ink",
    style.AXIS_COLOUR: "--muted",
    style.GRID_COLOUR: "--grid",
    style.BACKGROUND_RUN_COLOUR: "--rest",
    "#ffffff": "--paper",
}
MIN_SHARED_STYLES = 10

_STYLE_PATTERN = re.compile(r' style="([^"]*)"')
_CLIPPED_STYLE_PATTERN = re.compile(r' clip-path="([^"]*)" style="([^"]*)"')
_POLYLINE_PATTERN = re.compile(r' d="([MLz\d.\s-]*)"')
_UNUSED_ID_PATTERN = re.compile(
    r' id="[^"]*-(?:line2d|text|patch|[xy]tick|axes|figure|matplotlib\.axis|\w+Collection)_\d+"'
)


def embed_svg(svg: str, id_prefix: str, description: str) -> str:
    """Return the figure as an `svg` element; `description` is read out by screen readers."""
    head, body = svg[svg.index("<svg") :].split(">", 1)
    view = "".join(re.findall(r'viewBox="[^"]*"', head))
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # Only tags are rewritten: a label between them may look like a colour.
    body = re.sub(r"<[^>]*>", lambda tag: _rewrite_tag(tag[0], id_prefix), body)
    body = _shorten(body, id_prefix)
    return f'<svg {view} role="img" aria-label="{html.escape(description)}">{body}'


def _shorten(body: str, id_prefix: str) -> str:
    """Leave out ids that nothing refers to, and write a style that many elements have once."""
    body = re.sub(r">\s+<", "><", body)
    body = re.sub(_UNUSED_ID_PATTERN, "", body)
    body = re.sub(r"<g>(<path[^>]*/>)</g>", r"\1", body)
    body = re.sub(_CLIPPED_STYLE_PATTERN, r' style="\2; clip-path: \1"', body)
    body = re.sub(_POLYLINE_PATTERN, lambda path: f' d="{shorten_polyline(path[1])}"', body)
    counted = Counter(style for tag in re.findall(r"<[^>]*>", body) for style in _styles(tag))
    classes = {
        text: f"{id_prefix}-{number}"
        for number, (text, count) in enumerate(counted.items())
        if count >= MIN_SHARED_STYLES
    }
    body = re.sub(
        r"<[^>]*>",
        lambda tag: re.sub(
            _STYLE_PATTERN,
            lambda style: f' class="{classes[style[1]]}"' if style[1] in classes else style[0],
            tag[0],
        ),
        body,
    )
    rules = "".join(f".{name}{{{text}}}" for text, name in classes.items())
    return f"<style>{rules}</style>{body}" if rules else body


def shorten_polyline(path: str) -> str:
    """Return a path of straight lines with each point relative to the one before."""
    shortened, here = "", (0, 0)
    for letter, *point in re.findall(r"([MLz])(?: (\S+) (\S+))?", path):
        if letter == "z":
            shortened += "z"
            continue
        x, y = (round(10 * float(each)) for each in point)
        if letter == "M":
            shortened += f"M{_tenths(x)} {_tenths(y)}"
        elif y != here[1]:
            along = _tenths(y - here[1])
            shortened += f"v{along}" if x == here[0] else f"l{_tenths(x - here[0])} {along}"
        elif x != here[0] or shortened[shortened.rindex("M") :].isupper():  # a point is a dot
            shortened += f"h{_tenths(x - here[0])}"
        here = x, y
    return shortened.replace(" -", "-")


def _tenths(number: int) -> str:
    """Return a number of tenths as a decimal without needless zeros."""
    return f"{number / 10:.1f}".removesuffix(".0").replace("0.", ".", abs(number) < 10)


def _styles(tag: str) -> list[str]:
    return re.findall(_STYLE_PATTERN, tag)


def _rewrite_tag(tag: str, id_prefix: str) -> str:
    tag = re.sub(r'\bid="', f'id="{id_prefix}-', tag)
    tag = tag.replace("xlink:href", "href")
    tag = re.sub(r'(url\(#|href="#)', rf"\g<1>{id_prefix}-", tag)
    tag = re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", tag)
    tag = re.sub(r"#[0-9a-f]{6}\b", lambda colour: _css_colour(colour[0]), tag)
    return re.sub(r" font-family: [^;\"]*;?", "", tag)  # the page's own typeface is used


def _css_colour(colour: str) -> str:
    return f"var({CSS_VARIABLES[colour]})" if colour in CSS_VARIABLES else colour


def save_copies(figure: Figure, path: Path) -> None:
    """Write `path`.png and `path`.pdf."""
    for kind, metadata in METADATA.items():
        with atomic_write(path.with_name(f"{path.name}.{kind}")) as partial:
            style.save_figure(figure, partial, kind, dpi=PNG_DPI, metadata=metadata)
